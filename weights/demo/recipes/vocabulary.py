"""Classes, attributes, backgrounds and how often each attribute is drawn."""

CLASSES = ["truck", "car", "plane", "ship", "cat", "dog", "equine", "deer", "frog", "bird"]

ATTRIBUTES = [
    "long-snout", "wings", "wheels", "text", "horns", "floppy-ears", "ears", "colored-eyes", "tail", "mane", "beak",
    "hairy", "metallic", "rectangular", "wet", "long", "tall", "patterned",
]

BACKGROUNDS = ["sky", "grass", "sand", "water", "road", "snow", "forest", "indoor"]

# Probability of each attribute given the class, after the case study's table; what is missing is never drawn.
PREVALENCE = {
    "truck": {"wheels": 0.94, "tall": 0.71, "long": 0.77, "rectangular": 0.96, "metallic": 0.97, "text": 0.69, "patterned": 0.42},
    "car": {"wheels": 0.94, "long": 0.25, "rectangular": 0.83, "metallic": 0.98, "text": 0.33, "patterned": 0.22},
    "plane": {"tail": 0.20, "wings": 0.92, "wheels": 0.65, "tall": 0.84, "long": 0.92, "rectangular": 0.39, "metallic": 0.96,
              "text": 0.60, "patterned": 0.58},
    "ship": {"tall": 0.96, "long": 0.97, "rectangular": 0.91, "metallic": 0.90, "wet": 0.72, "text": 0.52, "patterned": 0.39},
    "cat": {"colored-eyes": 0.64, "ears": 0.94, "tail": 0.34, "hairy": 0.99, "patterned": 0.64},
    "dog": {"colored-eyes": 0.09, "ears": 0.98, "floppy-ears": 0.96, "tail": 0.36, "long-snout": 0.76, "hairy": 0.99, "wet": 0.04,
            "patterned": 0.11},
    "equine": {"ears": 0.94, "tail": 0.60, "long-snout": 0.89, "mane": 0.84, "tall": 0.08, "long": 0.07, "hairy": 0.99,
               "patterned": 0.67},
    "deer": {"ears": 0.97, "tail": 0.52, "horns": 0.76, "long-snout": 0.79, "hairy": 0.99, "patterned": 0.64},
    "frog": {"colored-eyes": 0.47, "wet": 0.83, "patterned": 0.69},
    "bird": {"beak": 0.97, "tail": 0.45, "wings": 0.93, "hairy": 0.15, "patterned": 0.85},
}

# Prompt phrases of the concepts; an attribute that is not listed is its own phrase.
PHRASES = {
    "long-snout": ["a long snout"],
    "wings": ["wings"],
    "wheels": ["wheels"],
    "text": ["text"],
    "horns": ["horns"],
    "floppy-ears": ["floppy ears"],
    "ears": ["ears"],
    "colored-eyes": ["colored eyes"],
    "tail": ["a tail"],
    "mane": ["a mane"],
    "beak": ["a beak"],
    "hairy": ["hair", "fur"],
    "metallic": ["metal"],
    "rectangular": ["a rectangular shape"],
    "wet": ["water on it", "a wet surface"],
    "long": ["a long body"],
    "tall": ["a tall body"],
    "patterned": ["a pattern"],
}
