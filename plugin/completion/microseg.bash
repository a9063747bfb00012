# bash completion for microseg. Install as /usr/share/bash-completion/completions/microseg, or: source this file.

# Asks the daemon with the --api-socket that is being typed; says nothing when it does not answer.
_microseg_names() {
  local column=$1 socket=() i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == --api-socket ]] && socket=(--api-socket "${COMP_WORDS[i + 1]}")
  done
  case $column in
    networks) command microseg "${socket[@]}" networks 2>/dev/null | awk 'NR > 1 { print ($1 == "-" ? $2 : $1) }' ;;
    services) command microseg "${socket[@]}" endpoints 2>/dev/null | awk 'NR > 1 && $3 != "-" { print $3 }' | sort -u ;;
  esac
}

_microseg() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=() i word
  COMPREPLY=()
  # The words typed so far without options and their values: "policy show app" is words=(policy show app).
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    case $word in
      --api-socket | --network) ((i++)) ;;
      --version) [[ ${words[0]} == policy ]] && ((i++)) ;;
      -*) ;;
      *) words+=("$word") ;;
    esac
  done
  local options='--api-socket --json --help'
  case $prev in
    --api-socket)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      return
      ;;
    --network)
      mapfile -t COMPREPLY < <(compgen -W "$(_microseg_names networks)" -- "$cur")
      return
      ;;
  esac
  [[ ${words[0]} == endpoints || ${words[0]} == explain ]] && options+=' --network'
  [[ ${#words[@]} == 0 || ${words[*]:0:2} == 'policy apply' ]] && options+=' --version'
  if [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    return
  fi
  local choices=
  case ${words[0]}:${#words[@]} in
    :0) choices='status networks endpoints policy explain completion version' ;;
    policy:1) choices='check show apply history remove' ;;
    policy:2 | policy:3)
      if [[ ${words[1]}:${#words[@]} == check:2 || ${words[1]}:${#words[@]} == apply:3 ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
      fi
      ((${#words[@]} == 2)) && choices=$(_microseg_names networks)
      ;;
    explain:1 | explain:2) choices=$(_microseg_names services) ;;
    explain:3) choices='icmp' ;;
    completion:1) choices='bash zsh fish' ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$cur")
}

complete -F _microseg microseg
