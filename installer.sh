#!/bin/sh
# Installs Condev Monitor on this machine, or brings an installation to this version and its config.toml. Needs Linux, root
# and Docker (which it offers to install); no Python, Node or compiler. Running it again changes nothing when nothing changed.
#
#   sh installer.sh --domain monitor.example.com --mail none    from a checkout (builds the image) or a release
#   curl -fsSL …/installer.sh | CONDEV_DOMAIN=monitor.example.com CONDEV_MAIL=none sh
# Each answer is a flag, a variable or a key of config.toml; what is still open is asked on a terminal. Without a terminal,
# or with --yes, nothing is asked: what is missing is listed, all at once, and the exit code is 2.
#   --domain NAME       CONDEV_DOMAIN        [deploy] domain   where browsers reach it
#   --target KIND       CONDEV_TARGET        [deploy] target   compose (default), behind-proxy, coolify, tunnel
#   --tls KIND          CONDEV_TLS           [deploy] tls      auto (default): public certificates; internal; off
#   --url URL           CONDEV_URL           [site] url        default: https://NAME
#   --mail KIND         CONDEV_MAIL          [channels] email  how mail leaves: resend, smtp, none
#   --mail-from ADDR    CONDEV_MAIL_FROM     [mail] from       the sender
#   --smtp-host HOST    CONDEV_SMTP_HOST     [plugins.smtp] host
#   --smtp-port PORT    CONDEV_SMTP_PORT     [plugins.smtp] port      default 587
#   --smtp-user NAME    CONDEV_SMTP_USER     [plugins.smtp] username
#   --config FILE       CONDEV_CONFIG_FILE   a whole config.toml instead of the answers above; one in DIR is never replaced
#                       RESEND_API_KEY, SMTP_PASSWORD   secrets: no flags; kept in DIR/.env (0600), never replaced or shown
# Where from, where to:
#   --dir DIR           CONDEV_DIR           where everything is kept; default /opt/condev
#   --bin-dir DIR       CONDEV_BIN_DIR       for the commands condev and condev-uninstall; default /usr/local/bin
#   --version V         CONDEV_VERSION       the release to install; default: this script's own
#   --releases URL      CONDEV_RELEASES      where releases lie: URL/vV/SHA256SUMS, .minisig and the image
#   --registry HOST     CONDEV_REGISTRY      pull all images from HOST instead; a registry of your own is trusted as it is
#   --offline BUNDLE    CONDEV_OFFLINE       load the images from this file; SHA256SUMS and its .minisig lie beside it
#   --key KEY           CONDEV_KEY           minisign public key of the release; default: the one in this script
#   --no-verify         CONDEV_NO_VERIFY=1   take a bundle that nobody signed (one that you made yourself)
#   --no-pull           CONDEV_NO_PULL=1     use the images that are there; fetch and build none
#   --yes               CONDEV_YES=1         ask nothing, agree to the installation of Docker
#   --dry-run           CONDEV_DRY_RUN=1     say what would be done and change nothing; --help shows this text
# Exit codes: 0 done, 1 a step failed (it says which and what to do), 2 answers or arguments are missing or wrong.
set -eu

VERSION='0.1.0'
RELEASE_KEY='' # `make release` writes the release's own key here
RELEASES='https://github.com/condev/condev-monitor/releases/download'

say() { printf '%s\n' "$@"; }
fail() {
  printf 'installer: %s\n' "$1" >&2
  exit "${2:-1}"
}
have() { command -v "$1" >/dev/null 2>&1; }
dry() { [ "$dry_run" = 1 ] && say "would $1"; } # WHAT: says it, and is true, when nothing may be changed
can_ask() { [ "$yes" != 1 ] && [ -t 1 ] && (: </dev/tty) 2>/dev/null; }

ask() { # QUESTION NAME → the answer; reads the terminal itself, since standard input may be this script; shows no secret
  case ${2:-} in *_KEY | *_PASSWORD) trap 'stty echo </dev/tty; echo >/dev/tty' EXIT INT && stty -echo </dev/tty ;; esac
  printf '%s ' "$1" >/dev/tty && IFS= read -r reply </dev/tty && printf '%s' "$reply"
}

# shellcheck disable=SC2034 # many of these are used by name, in one_of and write_files
read_arguments() {
  dir=${CONDEV_DIR:-/opt/condev} bin_dir=${CONDEV_BIN_DIR:-/usr/local/bin} version=${CONDEV_VERSION:-$VERSION}
  domain=${CONDEV_DOMAIN:-} target=${CONDEV_TARGET:-compose} tls=${CONDEV_TLS:-auto} url=${CONDEV_URL:-}
  mail=${CONDEV_MAIL:-} mail_from=${CONDEV_MAIL_FROM:-} config=${CONDEV_CONFIG_FILE:-}
  smtp_host=${CONDEV_SMTP_HOST:-} smtp_port=${CONDEV_SMTP_PORT:-587} smtp_user=${CONDEV_SMTP_USER:-}
  releases=${CONDEV_RELEASES:-$RELEASES} registry=${CONDEV_REGISTRY:-} offline=${CONDEV_OFFLINE:-}
  key=${CONDEV_KEY:-$RELEASE_KEY} no_verify=${CONDEV_NO_VERIFY:-} no_pull=${CONDEV_NO_PULL:-}
  yes=${CONDEV_YES:-} dry_run=${CONDEV_DRY_RUN:-}
  while [ $# -gt 0 ]; do
    name=$(printf '%s' "${1#--}" | tr - _)
    case $1 in
      --no-verify | --no-pull | --yes | --dry-run) eval "$name=1" ;; # the name is one of these
      -h | --help) case $0 in *.sh) sed -n '2,/^set -eu/{/^set/d;s/^# \{0,1\}//;p;}' "$0" ;; *) say 'Options: see the top of installer.sh' ;; esac && exit 0 ;;
      --dir | --bin-dir | --version | --domain | --target | --tls | --url | --mail | --mail-from | --config | --key | \
        --smtp-host | --smtp-port | --smtp-user | --releases | --registry | --offline)
        [ $# -gt 1 ] || fail "$1 needs a value; see --help" 2
        eval "$name=\$2" # the name is one of those above; the value is not evaluated
        shift
        ;;
      *) fail "unknown argument $1; see --help" 2 ;;
    esac
    shift
  done
}

need() { # NAME WAYS QUESTION: sets the variable NAME by asking when it is empty, or notes that it is missing
  eval "[ -z \"\${$1:-}\" ]" || return 0
  if can_ask; then
    eval "$1=\$(ask \"\$3\" $1)"
    eval "[ -z \"\$$1\" ]" || return 0
  fi
  problems="$problems$newline  $2"
}

one_of() { # NAME WORDS…: notes that the answer is none of them
  eval "value=\$$1"
  case " $2 " in *" $value "*) ;; *) problems="$problems$newline  --$1 $value: one of $2" ;; esac
}

take_answers() {
  newline=$(printf '\n.')
  problems='' newline=${newline%.}
  case $dir:$bin_dir in /?*:/?*) ;; *) fail '--dir and --bin-dir: absolute paths, e.g. /opt/condev' 2 ;; esac
  case $dir$bin_dir in *[!A-Za-z0-9/._-]*) fail '--dir and --bin-dir take letters, digits and / . _ - alone' 2 ;; esac
  [ -f "$dir/config.toml" ] || [ -f "$dir/image" ] ||
    case $(ls -A "$dir" 2>/dev/null) in '' | .env | lost+found) ;; *) fail "--dir $dir holds other files: name an empty or a new directory" 2 ;; esac
  if [ -f "$dir/config.toml" ]; then
    say "$dir/config.toml stands: answers given here do not change it"
    return 0
  elif [ -n "$config" ]; then
    [ -r "$config" ] || fail "--config $config cannot be read" 2
    return 0
  fi
  need domain '--domain, CONDEV_DOMAIN or [deploy] domain: where browsers reach it, e.g. monitor.example.com' 'Domain:'
  need mail '--mail, CONDEV_MAIL or [channels] email: how mail leaves (resend, smtp or none)' 'Mail (resend, smtp, none):'
  case $mail in
    resend) need RESEND_API_KEY 'RESEND_API_KEY, a variable: the key from resend.com' 'Resend API key:' ;;
    smtp) need smtp_host '--smtp-host, CONDEV_SMTP_HOST or [plugins.smtp] host: the mail server' 'Mail server:' ;;
  esac
  case $mail:$smtp_user in smtp:?*) need SMTP_PASSWORD 'SMTP_PASSWORD, a variable: the password of --smtp-user' 'Password of --smtp-user:' ;; esac
  case $mail in resend | smtp) need mail_from '--mail-from, CONDEV_MAIL_FROM or [mail] from: the sender' 'Sender:' ;; esac
  [ -z "$problems" ] || fail "answers are missing; give each as a flag, a variable, or a key in --config FILE:$problems" 2
  one_of target 'compose behind-proxy coolify tunnel'
  one_of tls 'auto internal off'
  one_of mail 'resend smtp none'
  case $domain in *[!A-Za-z0-9.-]*) problems="$problems$newline  --domain $domain: a host name, without https:// and path" ;; esac
  case $smtp_port in *[!0-9]* | '') problems="$problems$newline  --smtp-port $smtp_port: a number" ;; esac
  for value in "$url" "$mail_from" "$smtp_host" "$smtp_user" "${RESEND_API_KEY:-}" "${SMTP_PASSWORD:-}"; do
    case $value in *[\"\\\']* | *"$newline"*) problems="$problems$newline  quotes, backslashes and line ends cannot be part of an answer" ;; esac
  done
  [ -z "$problems" ] || fail "answers are wrong:$problems" 2
}

docker_package() { # the distribution's own; where it has none, people are told to follow Docker's manual
  for line in 'apt-get install -y docker.io' 'apk add docker' 'pacman -Sy --noconfirm docker' 'zypper -n install docker'; do
    have "${line%% *}" && say "$line" && return 0
  done
  [ ! -r /etc/fedora-release ] || say 'dnf install -y moby-engine'
}

install_docker() {
  line=$(docker_package)
  [ -n "$line" ] || fail 'Docker is missing. Install Docker Engine 20.10 or newer as its manual says, then run this again.'
  if [ "$yes" != 1 ] && [ "$dry_run" != 1 ]; then
    can_ask || fail "Docker is missing. Install it ($line), or run this again with --yes." 2
    case $(ask "Docker is missing. Install it with \"$line\"? [y/N]") in y* | Y*) ;; *) fail 'Docker is needed.' ;; esac
  fi
  case $line in apt-get*) act 'read the package lists' apt-get update -qq ;; esac
  # shellcheck disable=SC2086 # a command and its arguments
  act "install Docker: $line" $line
}
engine_answers() { docker info >"$work/log" 2>&1; }

find_docker() {
  have docker || install_docker
  engine_answers && return 0
  dry "start Docker's engine, which does not answer now" && return 0
  (systemctl enable --now docker || service docker start || (rc-update add docker && rc-service docker start) ) >/dev/null 2>&1 || :
  for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 1 && engine_answers && return 0; done
  tail -n 2 "$work/log" >&2
  fail "Docker's engine does not answer. Start it (systemctl start docker), or run this as root, then again."
}

fetch() { # URL FILE
  if have curl; then curl -fsSL --retry 3 --connect-timeout 20 -o "$2" "$1"; else wget -q -T 20 -O "$2" "$1"; fi ||
    fail "$1 could not be downloaded with curl or wget; check version and network, or use --offline BUNDLE."
}

verify() { # BUNDLE SUMS: the signature covers the sums, the sums cover the bundle
  [ -n "$key" ] || fail 'no key to verify the release with: give --key, or take --no-verify for a bundle of your own.' 2
  [ -r "$2" ] && [ -r "$2.minisig" ] || fail "$2 and $2.minisig must lie beside the bundle (--no-verify: one of your own)."
  if have minisign; then
    minisign -V -q -P "$key" -m "$2" >/dev/null || fail "$2: the signature is wrong; do not use it."
  elif have openssl; then # Ed25519: 10 bytes of kind and key id, then the key or the signature itself
    {
      printf '\060\052\060\005\006\003\053\145\160\003\041\000'
      say "$key" | openssl base64 -d -A | tail -c 32
    } >"$work/key.der"
    sed -n 2p "$2.minisig" | openssl base64 -d -A | tail -c 64 >"$work/signature"
    openssl pkeyutl -verify -pubin -inkey "$work/key.der" -keyform DER -rawin -in "$2" -sigfile "$work/signature" \
      >/dev/null 2>&1 || fail "$2: the signature is wrong, or openssl is older than 3; do not use it (minisign verifies it too)."
  else
    fail 'minisign or openssl 3 is needed to verify the release; install one of them.'
  fi
  wanted=$(awk -v name="$(basename "$1")" '$2 == name || $2 == "*" name { print $1 }' "$2")
  [ -n "$wanted" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$wanted" ] ||
    fail "$1: its SHA-256 is not the one in $2; download it again."
}

get_image() { # sets image
  image=condev-monitor:$version here=''
  case $0 in *installer.sh) here=$(cd "$(dirname "$0")" && pwd) ;; esac
  if [ -n "$registry" ]; then
    image=$registry/condev-monitor:$version
    [ "$no_pull" = 1 ] || act "pull $image" docker pull --quiet "$image"
  elif [ -n "$offline" ]; then
    load_bundle "$offline" "$(dirname "$offline")/SHA256SUMS"
  elif [ "$no_pull" = 1 ]; then
    docker image inspect "$image" >/dev/null 2>&1 || dry "need the image $image" || fail "$image is not there: leave out --no-pull."
  elif [ -n "$here" ] && [ -r "$here/Dockerfile" ]; then
    act "build $image from $here" docker build --quiet --build-arg "VERSION=$version" --tag "$image" "$here"
  else
    bundle=condev-monitor-$version-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/').tar.gz
    dry "download and verify $releases/v$version/$bundle" && return 0
    for name in SHA256SUMS SHA256SUMS.minisig "$bundle"; do fetch "$releases/v$version/$name" "$work/$name"; done
    load_bundle "$work/$bundle" "$work/SHA256SUMS"
  fi
}

load_bundle() { # BUNDLE SUMS
  [ -r "$1" ] || fail "$1 cannot be read."
  [ "$no_verify" = 1 ] || verify "$1" "$2"
  act "load the images in $1" docker load --quiet --input "$1"
}

act() { # WHAT COMMAND…
  dry "$1" && return 0
  say "$1 …" && shift
  "$@" >"$work/log" 2>&1 || fail "\"$*\" failed:$newline$(tail -n 20 "$work/log")"
}

write_files() { # config.toml and .env when they are not there; image, condev, condev-uninstall: by the image itself
  dry "write config.toml, .env and image in $dir, condev and condev-uninstall in $bin_dir, where missing" && return 0
  for name in domain target tls url mail mail_from smtp_host smtp_port smtp_user registry dir bin_dir image; do
    eval "export CONDEV_SETUP_$name=\"\$$name\""
    set -- "$@" --env "CONDEV_SETUP_$name"
  done
  [ -z "$config" ] || set -- "$@" --volume "$(cd "$(dirname "$config")" && pwd)/$(basename "$config"):/config.toml:ro"
  export RESEND_API_KEY SMTP_PASSWORD
  docker run --rm --pull never --network none --user 0:0 --userns host --security-opt label=disable --volume "$dir:$dir" --volume "$bin_dir:$bin_dir" "$@" \
    --env RESEND_API_KEY --env SMTP_PASSWORD --entrypoint /app/host-commands/setup "$image" ||
    fail "the files in $dir and $bin_dir could not be written."
}

apply() { # from here on it is the appliance's own command that does it, in its image
  set -- apply --dir "$dir"
  [ "$no_pull" != 1 ] && [ -z "$offline" ] || set -- "$@" --no-pull
  can_ask || set -- "$@" --yes
  if [ "$dry_run" = 1 ] && [ -x "$bin_dir/condev" ] && [ -f "$dir/image" ]; then set -- "$@" --dry-run; fi
  case $* in *--dry-run) ;; *) dry "run condev $*" && return 0 ;; esac
  "$bin_dir/condev" "$@"
  [ "$dry_run" = 1 ] || "$bin_dir/condev" where
}

main() {
  read_arguments "$@"
  take_answers
  work=$(mktemp -d "${TMPDIR:-/var/tmp}/condev.XXXXXX") # a bundle has 300 MB: /tmp is often memory
  trap 'rm -rf "$work"' EXIT
  find_docker
  get_image
  write_files
  apply
}

main "$@"
