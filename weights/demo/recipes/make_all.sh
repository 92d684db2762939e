#!/usr/bin/env bash
# Makes everything in weights/demo from nothing but these recipes, then measures it. Needs the packages of requirements.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
python make_images.py
python train_classifier.py
# In two parts: fast at a high rate, then down to zero.
python train_clip.py --epochs 10 --stop-after 4
python train_clip.py --epochs 3 --rate 1.4e-3 --resume
python attack.py
python plant.py
python evaluate.py
