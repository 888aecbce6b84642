#!/bin/sh
# compare.sh PROGRAM: checks that PROGRAM does what GNU parallel does. Ends with 77 when there is none to compare with.
set -u
LC_ALL=C
PARALLEL_SHELL=/bin/sh
export LC_ALL PARALLEL_SHELL
unset PARALLEL

[ $# -eq 1 ] || { echo "usage: compare.sh PROGRAM" >&2; exit 2; }
program=$(realpath "$1") || exit 2
parallel --version 2>/dev/null | grep -q '^GNU parallel' ||
  { echo "skipped: there is no GNU parallel to compare with"; exit 77; }

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
export HOME="$work" PARALLEL_HOME="$work/settings"
mkdir "$work/settings" "$work/empty" && touch "$work/settings/will-cite" # or it asks to be cited
cd "$work/empty" || exit 2

pass() { echo "ok: $1"; }
fail() {
  echo "FAILED: $1"
  head -n 5 ../status.gnu ../status.ours
  diff ../output.gnu ../output.ours | head -n 20 | cut -c 1-200
  diff ../errors.gnu ../errors.ours | head -n 20 | cut -c 1-200
  exit 1
}

# same TITLE ARGUMENT...: both, with the file input, print the same, complain of the same, and end with the same status.
# What each says in its own name is not compared, nor what they call the shell. With --joblog, their logs are.
: >../input
same() {
  title=$1
  shift
  for who in gnu ours; do
    [ $who = gnu ] && command=parallel || command=$program
    rm -f ../log ../counter
    "$command" "$@" <../input >../output.$who 2>../raw
    echo $? >../status.$who
    # Its complaints take two lines: "parallel: This job failed:", "exit 1".
    sed '/^parallel: .*:$/{N;d}; /^parallel: /d; s,^/bin/sh: ,sh: ,' ../raw >../errors.$who
    [ ! -e ../log ] || tail -n +2 ../log | sort -n | cut -f 1,2,5- >../log.$who
  done
  cmp -s ../status.gnu ../status.ours || fail "$title (status)"
  cmp -s ../output.gnu ../output.ours || fail "$title (output)"
  cmp -s ../errors.gnu ../errors.ours || fail "$title (complaints)"
  [ ! -e ../log ] || cmp -s ../log.gnu ../log.ours || { diff ../log.gnu ../log.ours | head; fail "$title (log)"; }
  pass "$title"
}

say() { printf '%s\n' "$1"; }

# Three hundred command lines of all kinds, a few dozen of which fail.
i=0
while [ $i -lt 300 ]; do
  i=$((i + 1))
  case $((i % 12)) in
    0) say "head -c $((i * 700)) /dev/zero | tr '\0' '$((i % 10))'" ;;
    1) say "echo $i; echo error $i >&2" ;;
    2) say "echo \"\$((1 + $i))\" 'single \"quotes\"' \"double 'quotes'\" \\\$HOME" ;;
    3) say "sleep 0.0$((i % 4)); echo slept" ;;
    4) say "exit $((i % 7))" ;;
    5) say "printf 'no newline %s' $i" ;;
    6) say "for i in 1 2 3; do echo \$i; echo \$i >&2; done | cat" ;;
    7) say "  echo  'spaces   and	tab'  # and a comment" ;;
    8) [ $((i % 5)) -eq 0 ] && say "kill -$((i % 2 == 0 ? 9 : 15)) \$\$" || say "true" ;;
    9) say "printf '\000\001\377 bytes %s\n' $i" ;;
    10) [ $((i % 3)) -eq 0 ] && say "" || say "cat; echo {} {.} 'äöü' \`echo backquotes\` ~root *" ;;
    11) say "seq $i | tail -n 2 >&2; (exit 0)" ;;
  esac
done >../commands
cp ../commands ../input
same "three hundred command lines"               -k -j4 --joblog ../log
same "three hundred command lines from a file"   -k -j3 -a ../commands
same "a dry run of them"                         -k --dry-run

printf '%s\n' 'a b' '$HOME' "it's" "'" "''" "'a'" '"q"' 'a;b' '*' '~' '\back' '#c' 'a=b' '{x}' '	tab	' 'é' \
  'plain-1.2_3/4+5' '6:7@8%9,0' '' ' ' '-x' 'a^b' '!h' '<>' '|&' '()' '[]' '?' 'a
b' '{}' 'a{}b' >../input
seq 32 126 | awk '{ printf "%c\n", $1 }' >>../input
printf 'carriage return\r\nno newline' >>../input
same "arguments of all kinds"                    -k -j4 --joblog ../log "printf '<%s>\\n'"
same "arguments of all kinds, in the middle"     -k -j4 'printf "<%s>" {} x{}y; echo' more {}
same "a dry run of them, with {}"                -k --dry-run echo {} "it's" '$HOME' '{}-{}'
same "a dry run of them, without {}"             -k --dry-run echo 'a  b'
: >../input
same "arguments after :::"                       -k echo '{}' '$((1+1))' ::: 'a b' '*' "it's" '' '-n' '--'
same "command lines after :::"                   -k ::: 'echo a   b' 'echo $((1+1)) "c  d"' ''
same "no lines"                                  -k echo
same "no arguments"                              -k echo :::

same "no failure"                                'exit {} #' ::: 0 0
same "three failures"                            -j4 --joblog ../log 'exit {}' ::: 0 1 0 7 255
seq 110 >../input
same "more than a hundred failures"              -j4 'false #'
seq 100 >../input
same "a hundred failures"                        -j4 'false #'
: >../input
same "--timeout"                                 -k -j4 --timeout 1.5 --joblog ../log ::: 'sleep 0.2; echo a' \
  'echo begun; echo >&2 so; exec sleep 20' 'exit 2' 'echo b'
same "--retries"                                 -j1 --retries 3 --joblog ../log \
  'echo {} >>../counter; echo $(wc -l <../counter); echo tried >&2; [ $(wc -l <../counter) -gt {} ] #' ::: 1 9 2
same "--halt now"                                -j2 --halt now,fail=1 --joblog ../log ::: 'sleep 0.5; exit 5' \
  'sleep 20; echo end' 'echo never'
same "--halt now, after a signal"                -j1 --halt now,fail=1 ::: 'kill -KILL $$' 'echo never'
same "--halt now, after a timeout"               -j1 --timeout 0.3 --halt now,fail=1 ::: 'sleep 20' 'echo never'
same "--halt soon"                               -j2 --halt soon,fail=1 --joblog ../log ::: 'sleep 0.3; exit 5' \
  'sleep 2.5; echo end' 'echo never'
same "--halt soon, two failures"                 -j2 --halt soon,fail=1 ::: 'sleep 0.3; exit 5' 'sleep 2.5; exit 6' \
  'echo never'
same "--halt never"                              -k --halt never ::: 'exit 5' 'echo b'

echo "all as it should be"
