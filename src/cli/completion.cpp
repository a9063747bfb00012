#include "completion.h"

namespace microseg::cli {
namespace {

constexpr std::string_view kBash =
    R"~(# bash completion for microseg. Install as /usr/share/bash-completion/completions/microseg, or: source this file.

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
  ((${#words[@]} == 0)) && options+=' --version'
  if [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    return
  fi
  local choices=
  case ${words[0]}:${#words[@]} in
    :0) choices='status networks endpoints policy explain completion version' ;;
    policy:1) choices='check show apply remove' ;;
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
)~";

constexpr std::string_view kZsh = R"~(#compdef microseg
# zsh completion for microseg. Install as _microseg in a directory of $fpath.

# Both ask the daemon with the --api-socket that is being typed; they offer nothing when it does not answer.
_microseg_networks() {
  local -a names
  names=(${(f)"$(command microseg ${opt_args[--api-socket]:+--api-socket} ${opt_args[--api-socket]} networks 2>/dev/null |
    awk 'NR > 1 { print ($1 == "-" ? $2 : $1) }')"})
  _describe -t networks network names
}

_microseg_services() {
  local -aU names
  names=(${(f)"$(command microseg ${opt_args[--api-socket]:+--api-socket} ${opt_args[--api-socket]} endpoints 2>/dev/null |
    awk 'NR > 1 && $3 != "-" { print $3 }')"})
  _describe -t services service names
}

_microseg() {
  local context state state_descr line
  typeset -A opt_args
  local -a common commands actions
  common=(
    '--api-socket[admin socket of microsegd]:socket:_files'
    '--json[print the answer as JSON]'
    '(- *)'{-h,--help}'[show help]'
  )
  commands=(
    'status:show the health of the daemon'
    'networks:list networks with their counters'
    'endpoints:list endpoints'
    'policy:check, show, apply or remove the policy of a network'
    'explain:tell whether a connection is allowed'
    'completion:print the completion script of a shell'
    'version:print the version'
  )
  _arguments -C $common '(- *)--version[print the version]' '1:command:->command' '*::argument:->argument' && return
  case $state in
    command) _describe -t commands command commands ;;
    argument)
      case $words[1] in
        endpoints) _arguments $common '--network[only those of this network]:network:_microseg_networks' ;;
        explain)
          _arguments $common '--network[the network meant]:network:_microseg_networks' \
            '1:from:_microseg_services' '2:to:_microseg_services' '3:port:(icmp)'
          ;;
        completion) _arguments $common '1:shell:(bash zsh fish)' ;;
        policy)
          if ((CURRENT == 2)); then
            actions=('check:tell whether a policy is valid' 'show:show sources and what is in force'
              'apply:replace the applied policy' 'remove:remove the applied policy')
            _describe -t actions action actions
          elif [[ $words[2] == check ]]; then
            _arguments $common '1:action:' '2:file:_files'
          elif [[ $words[2] == apply ]]; then
            _arguments $common '1:action:' '2:network:_microseg_networks' '3:file:_files'
          else
            _arguments $common '1:action:' '2:network:_microseg_networks'
          fi
          ;;
        *) _arguments $common ;;
      esac
      ;;
  esac
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _microseg "$@"
else
  compdef _microseg microseg
fi
)~";

constexpr std::string_view kFish =
    R"~(# fish completion for microseg. Install as microseg.fish in ~/.config/fish/completions.

# Both ask the daemon; they offer nothing when it does not answer.
function __microseg_networks
    command microseg networks 2>/dev/null | awk 'NR > 1 { print ($1 == "-" ? $2 : $1) }'
end

function __microseg_services
    command microseg endpoints 2>/dev/null | awk 'NR > 1 && $3 != "-" { print $3 }' | sort -u
end

set -l commands status networks endpoints policy explain completion version
complete -c microseg -f
complete -c microseg -l api-socket -r -F -d "Admin socket of microsegd"
complete -c microseg -l json -d "Print the answer as JSON"
complete -c microseg -s h -l help -d "Show help"
complete -c microseg -n "not __fish_seen_subcommand_from $commands" -l version -d "Print the version"

complete -c microseg -n "not __fish_seen_subcommand_from $commands" -a status -d "Show the health of the daemon"
complete -c microseg -n "not __fish_seen_subcommand_from $commands" -a networks -d "List networks with their counters"
complete -c microseg -n "not __fish_seen_subcommand_from $commands" -a endpoints -d "List endpoints"
complete -c microseg -n "not __fish_seen_subcommand_from $commands" -a policy -d "Check, show, apply or remove a policy"
complete -c microseg -n "not __fish_seen_subcommand_from $commands" -a explain -d "Tell whether a connection is allowed"
complete -c microseg -n "not __fish_seen_subcommand_from $commands" -a completion -d "Print a completion script"
complete -c microseg -n "not __fish_seen_subcommand_from $commands" -a version -d "Print the version"

complete -c microseg -n "__fish_seen_subcommand_from endpoints explain" -l network -x -a "(__microseg_networks)" \
    -d "Name, id or unique id prefix of a network"
complete -c microseg -n "__fish_seen_subcommand_from explain" -a "(__microseg_services)"
complete -c microseg -n "__fish_seen_subcommand_from completion" -a "bash zsh fish"

set -l actions check show apply remove
complete -c microseg -n "__fish_seen_subcommand_from policy; and not __fish_seen_subcommand_from $actions" -a "$actions"
complete -c microseg -n "__fish_seen_subcommand_from policy; and __fish_seen_subcommand_from show apply remove" \
    -a "(__microseg_networks)"
complete -c microseg -n "__fish_seen_subcommand_from policy; and __fish_seen_subcommand_from check apply" -F
)~";

}  // namespace

std::string_view completion(std::string_view shell) {
  if (shell == "bash") return kBash;
  if (shell == "zsh") return kZsh;
  if (shell == "fish") return kFish;
  return {};
}

}  // namespace microseg::cli
