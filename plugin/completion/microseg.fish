# fish completion for microseg. Install as microseg.fish in ~/.config/fish/completions.

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
complete -c microseg -n "not __fish_seen_subcommand_from $commands" -a policy -d "Check, show, apply, remove or look back at a policy"
complete -c microseg -n "not __fish_seen_subcommand_from $commands" -a explain -d "Tell whether a connection is allowed"
complete -c microseg -n "not __fish_seen_subcommand_from $commands" -a completion -d "Print a completion script"
complete -c microseg -n "not __fish_seen_subcommand_from $commands" -a version -d "Print the version"

complete -c microseg -n "__fish_seen_subcommand_from endpoints explain" -l network -x -a "(__microseg_networks)" \
    -d "Name, id or unique id prefix of a network"
complete -c microseg -n "__fish_seen_subcommand_from explain" -a "(__microseg_services)"
complete -c microseg -n "__fish_seen_subcommand_from completion" -a "bash zsh fish"

set -l actions check show apply history remove
complete -c microseg -n "__fish_seen_subcommand_from policy; and not __fish_seen_subcommand_from $actions" -a "$actions"
complete -c microseg -n "__fish_seen_subcommand_from policy; and __fish_seen_subcommand_from show apply history remove" \
    -a "(__microseg_networks)"
complete -c microseg -n "__fish_seen_subcommand_from policy; and __fish_seen_subcommand_from check apply" -F
complete -c microseg -n "__fish_seen_subcommand_from policy; and __fish_seen_subcommand_from apply" -l version -x \
    -d "Apply once more what was applied as this version"
