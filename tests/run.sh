#!/bin/sh
# Checks everything: style, types, tests, real clients. In a fresh clone: sh tests/run.sh
#
#   sh tests/run.sh [--long] [arguments for pytest]
#
# Runs as many tests at a time as there are processors; with --long, or -n 0, one after the other.
# Makes its own virtual environment (.venv); on Debian and its kin, as root or with a sudo that
# asks nothing, it installs the clients that it drives. Ends with pytest's summary.
set -u
cd "$(dirname "$0")/.." || exit 2

is_recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if is_recent "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "tests/run.sh: no Python 3.11 or later; name one: PYTHON=/path/to/python3 $0" >&2
    exit 2
}

# Prints what runs a command as root, nothing when we are root; fails where neither is possible.
as_root() {
    [ "$(id -u)" -eq 0 ] || { sudo -n true 2>/dev/null && echo "sudo -n"; }
}

apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    root=$(as_root) || return 1
    echo "installing: $*"
    log=$(mktemp) || return 1
    # Stale lists may still do: what counts is whether the packages arrive.
    $root env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null >"$log" 2>&1
    $root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" </dev/null >>"$log" 2>&1
    installed=$?
    [ "$installed" -eq 0 ] || tail -n 5 "$log" >&2
    rm -f "$log"
    return "$installed"
}

install_clients() {
    missing=
    long=
    case " $* " in
        *" --long "*)
            long="kioclient5:kde-cli-tools soffice:libreoffice-writer-nogui soffice:python3-uno" ;;
    esac
    for pair in litmus:litmus cadaver:cadaver mount.davfs:davfs2 rclone:rclone curl:curl \
        restic:restic sitecopy:sitecopy git:git vi:vim-tiny dbus-daemon:dbus \
        gio:libglib2.0-bin gvfsd-dav:gvfs-backends gvfsd-fuse:gvfs-fuse \
        apache2:apache2-bin chromium:chromium strace:strace systemd-analyze:systemd $long; do
        PATH="$PATH:/usr/sbin:/sbin:/usr/libexec" command -v "${pair%%:*}" >/dev/null 2>&1 ||
            missing="$missing ${pair##*:}"
    done
    [ -z "$missing" ] && return
    # shellcheck disable=SC2086
    apt_install $missing || echo "not installed:$missing (their tests are skipped, in CI they fail)"
}

# What comes from npm, again when its lock file changes.
install_npm_clients() {
    wanted="$(node --version 2>/dev/null) $(cksum <tests/clients/npm/package-lock.json)"
    [ -f .clients/npm/wanted ] && [ "$(cat .clients/npm/wanted)" = "$wanted" ] && return
    command -v npm >/dev/null 2>&1 || apt_install nodejs npm
    mkdir -p .clients/npm && cp tests/clients/npm/package*.json .clients/npm || return
    echo "installing: npm's clients"
    (cd .clients/npm && npm ci --silent --ignore-scripts --no-audit --no-fund </dev/null) ||
        { echo "not installed: npm's clients (their tests are skipped, in CI they fail)"; return; }
    # Node may have come with it.
    printf '%s %s\n' "$(node --version)" "$(cksum <tests/clients/npm/package-lock.json)" \
        >.clients/npm/wanted
}

# Debian's packages of these start a server when they are installed, now and at each boot: they are
# unpacked for the tests instead. (apache2-bin holds no more than the programs.)
unpack_proxies() {
    for program in nginx caddy; do
        PATH="$PATH:/usr/sbin:$PWD/.clients/debian/usr/sbin:$PWD/.clients/debian/usr/bin" \
            command -v "$program" >/dev/null 2>&1 && continue
        echo "unpacking: $program"
        folder=$(mktemp -d) || return
        # The folder is nobody's business but apt's own user, when root runs it.
        chmod 755 "$folder"
        (cd "$folder" && apt-get download -qq "$program" >log 2>&1) &&
            mkdir -p .clients/debian && dpkg-deb -x "$folder/$program"_*.deb .clients/debian ||
            echo "not unpacked: $program (its tests are skipped, in CI they fail)"
        rm -rf "$folder"
    done
}

make_venv() {
    "$python" -m venv --clear .venv 2>/dev/null && return
    # Debian keeps venv in a package of its own.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    apt_install "python$version-venv" && "$python" -m venv --clear .venv
}

# The environment is used again until pyproject.toml or the interpreter changes.
prepare() {
    python=$(find_python) || exit 2
    wanted="$("$python" -c 'import sys; print(sys.version, sys.executable)') $(cksum <pyproject.toml) $(pwd)"
    if [ -f .venv/wanted ] && [ "$(cat .venv/wanted)" = "$wanted" ]; then
        return
    fi
    echo "making .venv"
    make_venv || { echo "tests/run.sh: no virtual environment" >&2; exit 2; }
    .venv/bin/python -m pip install -q --disable-pip-version-check -e '.[test,clients,lint]' || {
        echo "tests/run.sh: pip install failed" >&2
        exit 2
    }
    printf '%s\n' "$wanted" >.venv/wanted
}

lint() {
    echo "== $*"
    "$@" || failed=1
}

# Without compiled files at hand every server that a test starts compiles 200 modules first.
unset PYTHONDONTWRITEBYTECODE

# Prints pytest's arguments for tests side by side. What is long measures, or takes a desktop's
# session for itself, and the table of clients sees all tests of a run.
side_by_side() {
    case " $* " in *" --long "* | *" --client-table "*) return ;; esac
    # One more than there are processors: a third of the time a test waits for something.
    echo "-n $(($(getconf _NPROCESSORS_ONLN) + 1)) --maxprocesses 8"
}

install_clients "$@"
install_npm_clients
prepare
unpack_proxies
failed=0
lint .venv/bin/ruff check .
lint .venv/bin/ruff format --check .
lint .venv/bin/mypy --strict davserver
[ "$failed" -eq 0 ] || echo "== style or types failed: the run fails whatever the tests say"

# shellcheck disable=SC2046
.venv/bin/python -m pytest $(side_by_side "$@") "$@"
status=$?
[ "$status" -eq 0 ] && status=$failed
exit "$status"
