#!/bin/sh
# Makes sure that this machine can build heatlens and has an adapter for it to run on.
#
# Where a Vulkan, Metal or DX12 adapter exists it does nothing. On Linux without one it installs Mesa's software Vulkan
# with the system's package manager. Without the right to install it prints the commands.
#
# Exit codes: 0 ready, 2 something is missing that it can't install.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }

# The tools. Rust links with the C compiler, and the JPEG decoder is C; a machine without development packages has none.
tools() {
    if ! command -v cargo >/dev/null 2>&1; then
        say "cargo is missing; install Rust 1.92 or later (https://rustup.rs)"
        exit 2
    fi
    case $(uname -s) in
        MINGW* | MSYS* | CYGWIN*) return ;;
    esac
    if ! command -v cc >/dev/null 2>&1; then
        say "the C compiler cc is missing; install the package gcc (Debian, Fedora, Arch, openSUSE)," \
            "build-base (Alpine) or, on macOS, run xcode-select --install"
        exit 2
    fi
}

# Whether the Vulkan loader is there.
has_loader() {
    for ldconfig in ldconfig /sbin/ldconfig /usr/sbin/ldconfig; do
        if "$ldconfig" -p 2>/dev/null | grep -q 'libvulkan\.so\.1'; then return 0; fi
    done
    # musl has no cache to ask, and Nix keeps libraries elsewhere.
    for folder in $(printf '%s' "${LD_LIBRARY_PATH:-}" | tr ':' ' ') /lib /usr/lib /usr/local/lib /usr/lib64 \
        /run/opengl-driver/lib; do
        if [ -e "$folder/libvulkan.so.1" ]; then return 0; fi
    done
    return 1
}

# The manifests of the installed drivers, where the loader looks for them.
manifests() {
    chosen=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}
    if [ -n "$chosen" ]; then
        printf '%s\n' "$chosen" | tr ':' '\n'
        return
    fi
    printf '%s\n' "${VK_ADD_DRIVER_FILES:-}" | tr ':' '\n'
    for folder in "${XDG_CONFIG_HOME:-${HOME:-}/.config}" /etc/xdg /usr/local/etc /etc \
        "${XDG_DATA_HOME:-${HOME:-}/.local/share}" /usr/local/share /usr/share /run/opengl-driver/share; do
        for manifest in "$folder"/vulkan/icd.d/*.json; do printf '%s\n' "$manifest"; done
    done
}

# Whether a driver is there that has something to drive: distributions install those of every vendor together, so that
# a hardware driver's manifest says nothing about the machine, and a device node does.
has_driver() {
    hardware=no
    for node in /dev/dri/renderD* /dev/nvidia[0-9]* /dev/dxg /dev/kgsl-3d0 /dev/mali0; do
        if [ -e "$node" ]; then hardware=yes; fi
    done
    manifests | while IFS= read -r manifest; do
        if [ ! -e "$manifest" ]; then continue; fi
        case $hardware:$manifest in
            yes:* | *lvp* | *llvmpipe* | *lavapipe* | *swiftshader*) echo "$manifest" ;;
        esac
    done | grep -q .
}

has_adapter() {
    case $(uname -s) in
        Darwin | MINGW* | MSYS* | CYGWIN*) return 0 ;; # Metal; DX12, in software (WARP) if need be
    esac
    has_loader && has_driver
}

# Runs a command as root, saying so.
as_root() {
    say "running: $*"
    if [ "$(id -u)" -eq 0 ]; then "$@" >&2; else sudo -n "$@" >&2; fi
}

may_install() { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }

is_bookworm() { grep -qs '^VERSION_CODENAME=bookworm$' /etc/os-release && grep -qs '^ID=debian$' /etc/os-release; }

# Debian 12's own Mesa is four to five times slower than the one in its backports on heatlens's shaders.
backports_source=/etc/apt/sources.list.d/heatlens-backports.list

has_backports() { apt-get indextargets --format '$(RELEASE)' | grep -qx bookworm-backports; }

# The line that adds the backports, from the mirror that serves the distribution itself.
backports_line() {
    mirror=$(apt-get indextargets --format '$(RELEASE) $(SITE)' | sed -n 's/^bookworm //p' | head -n 1)
    [ -n "$mirror" ] && printf 'deb %s bookworm-backports main' "$mirror"
}

# The command that installs software Vulkan with the package manager $1, from the release $2 if that is given.
install_command() {
    case $1 in
        apt-get) echo "apt-get install -y --no-install-recommends ${2:+-t $2 }mesa-vulkan-drivers libvulkan1" ;;
        dnf) echo "dnf install -y mesa-vulkan-drivers vulkan-loader" ;;
        pacman) echo "pacman -S --noconfirm vulkan-swrast vulkan-icd-loader" ;;
        zypper) echo "zypper --non-interactive install libvulkan_lvp libvulkan1" ;;
        apk) echo "apk add mesa-vulkan-swrast vulkan-loader" ;;
    esac
}

install_from_backports() {
    added=no
    if ! has_backports; then
        line=$(backports_line) || return 1
        say "adding Debian's backports to $backports_source"
        as_root sh -c "echo '$line' >$backports_source"
        added=yes
    fi
    # shellcheck disable=SC2046 # the command is to be split into words
    if as_root apt-get update && as_root $(install_command apt-get bookworm-backports); then return 0; fi
    if [ "$added" = yes ]; then as_root rm -f "$backports_source"; fi
    return 1
}

install_with() {
    if [ "$1" = apt-get ]; then
        if is_bookworm; then
            if install_from_backports; then return; fi
            say "notice: Debian's backports can't be reached; its own Mesa 22.3 works too, but four to five times slower"
        fi
        as_root apt-get update || say "notice: the package lists can't be refreshed; trying with those at hand"
    fi
    # shellcheck disable=SC2046 # the command is to be split into words
    as_root $(install_command "$1")
}

# The same for a person to run, one command a line.
commands() {
    release=
    if [ "$1" = apt-get ]; then
        if is_bookworm; then
            release=bookworm-backports
            if ! has_backports && line=$(backports_line); then
                echo "echo '$line' | sudo tee $backports_source"
            fi
        fi
        echo "sudo apt-get update"
    fi
    echo "sudo $(install_command "$1" "$release")"
}

adapter() {
    if has_adapter; then return; fi
    if [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ] && has_loader; then
        say "VK_DRIVER_FILES or VK_ICD_FILENAMES names no Vulkan driver that can run here; unset it or mend it"
        exit 2
    fi
    say "there is no Vulkan adapter; heatlens can use Mesa's software Vulkan"
    manager=
    for candidate in apt-get dnf pacman zypper apk; do
        if command -v $candidate >/dev/null 2>&1; then
            manager=$candidate
            break
        fi
    done
    if [ -z "$manager" ]; then
        say "no package manager is known here; install Mesa's software Vulkan (lavapipe) and the Vulkan loader"
        exit 2
    fi
    if ! may_install; then
        say "installing it takes root's rights; please run"
        commands $manager | sed 's/^/    /' >&2
        exit 2
    fi
    if ! install_with $manager || ! has_adapter; then
        say "Mesa's software Vulkan could not be installed; these are the commands:"
        commands $manager | sed 's/^/    /' >&2
        exit 2
    fi
    say "Mesa's software Vulkan is installed"
}

tools
adapter
