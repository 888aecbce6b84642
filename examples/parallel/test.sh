#!/bin/sh
# test.sh PROGRAM: checks what PROGRAM does by itself. compare.sh holds it against GNU parallel.
set -u
LC_ALL=C
export LC_ALL

[ $# -eq 1 ] || { echo "usage: test.sh PROGRAM" >&2; exit 2; }
program=$(realpath "$1") || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cd "$work" || exit 2

pass() { echo "ok: $1"; }
fail() {
  echo "FAILED: $1"
  for file in expected output errors; do
    [ ! -s $file ] || { echo "$file:"; head -n 20 $file; }
  done
  exit 1
}

# run ARGUMENT...: with the file input; leaves output, errors and $status
: >input
run() {
  "$program" "$@" <input >output 2>errors
  status=$?
}

# check TITLE STATUS: the last run printed what is in expected, did not complain, and ended with the status
check() {
  [ "$status" -eq "$2" ] || fail "$1 (status $status instead of $2)"
  cmp -s expected output || fail "$1 (output)"
  [ ! -s errors ] || fail "$1 (complaints)"
  pass "$1"
}

# within SECONDS COMMAND...: tries until the command succeeds
within() {
  tries=$(($1 * 20))
  shift
  until "$@"; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || return 1
    sleep 0.05
  done
}

# after FILE COMMAND: a command line that runs the command a while after the file is there
after() { echo "until [ -e $1 ]; do sleep 0.05; done; sleep 2; $2"; }

# Programs that run with a number of seconds that nobody else sleeps. A process that has ended has no command line.
marker=987.$$
marked() { grep -lzx "987[.]$$" /proc/[0-9]*/cmdline 2>/dev/null | grep -q .; } # brackets: not the grep itself
none_marked() { ! marked; }
gone() { ! kill -0 "$1" 2>/dev/null; }

# --- what is run ------------------------------------------------------------------------------------------------------

printf '%s\n' 'x y' "it's" '"$HOME"' >expected
run -k echo ::: 'x y' "it's" '"$HOME"'; check "arguments are quoted" 0
printf '%s\n' 'a-x y-a x y' 'a-b-a b' >expected
run -k 'echo a-{}-a' {} ::: 'x y' b;    check "{} stands for the argument" 0
printf '1\n2 2\n' >expected
run -k ::: 'echo 1' 'echo 2    2';      check "arguments that are command lines" 0
printf 'echo 1\necho "2   2"|cat\n\n   \necho 3' >input
printf '1\n2   2\n3\n' >expected
run -k;                                 check "lines that are command lines, empty ones too" 0
run -k -a input;                        check "lines of a file" 0
mkfifo pipe
cat input >pipe &
run -k --arg-file=pipe;                 check "lines of a pipe" 0
printf 'a b\n\n*' >input
printf '<a b>\n<>\n<*>\n' >expected
run -k -j3 printf "'<%s>\n'";           check "lines that are arguments" 0
printf "printf '<%%s>\\\\n' %s\n" "'a b'" "''" "'*'" >expected
run --dry-run printf "'<%s>\n'";        check "a dry run" 0
: >input; : >expected
run echo;                               check "no lines" 0
run echo :::;                           check "no arguments" 0
head -c 100000 /dev/zero | tr '\0' x >input
{ cat input; echo; } >expected
run echo;                               check "a long line" 0
seq 2000 >input; cp input expected
run -k -j16 echo;                       check "two thousand jobs" 0
printf -- '-n\n' >expected
run -- printf '%s\\n' ::: -n;           check "-- ends the options" 0
: >input
printf 'stdin is empty\n' >expected
echo something >input
run 'cat; echo stdin is' ::: empty;     check "a job has no input" 0
printf 'sh: 1: -x: not found\n' >expected
run ::: -x
[ $status -eq 1 ] && [ ! -s output ] && grep -q 'not found' errors || fail "a command that begins with a dash"
pass "a command that begins with a dash"

# --- exit status, retries, timeout, halt, log -------------------------------------------------------------------------

: >expected
run 'exit {}' ::: 0 0 0;                        check "no failure" 0
run 'exit {}' ::: 0 1 2 0 3;                    check "three failures" 3
seq 100 >input; run 'false #';                  check "a hundred failures" 100
seq 150 >input; run 'false #';                  check "more than a hundred failures" 101
run 'kill -9 $$ #' ::: 1;                       check "a signal is a failure" 1

attempts='echo >>attempts; wc -l <attempts; [ $(wc -l <attempts) -ge 3 ] #'
echo 3 >expected
run --retries 3 "$attempts" ::: 1;              check "the third attempt succeeds" 0
rm attempts; echo 2 >expected
run --retries 2 "$attempts" ::: 1;              check "two attempts are not enough" 1
rm attempts; echo 3 >expected
run --retries=0 "$attempts" ::: 1;              check "as many attempts as it takes" 0

printf 'begun\n' >expected
run --timeout 2 ::: "echo begun; trap '' TERM; sleep $marker & sleep $marker"
[ $status -eq 1 ] && cmp -s expected output && grep -q '^parallel: killed because it took too long: echo' errors ||
  fail "a timeout"
within 10 none_marked || fail "a timeout (a process is left)"
pass "a timeout"

: >expected
run -j2 --halt now ::: 'sleep 0.3; exit 5' "sleep $marker; echo end" 'echo started'
check "--halt now" 5
none_marked || fail "--halt now (a process is left)"
echo end >expected
run -j2 --halt soon,fail=1 ::: 'touch failed; exit 5' "$(after failed 'echo end')" 'echo started'
check "--halt soon" 5
: >expected
printf 'exit 6\necho no\n' >input
run -j1 --halt soon;                            check "--halt soon, with lines left" 6
: >input
run --halt now ::: 'kill -KILL $$';             check "--halt now, after a signal" 137
echo failed >expected
run -j2 -k --halt now ::: "sleep $marker" 'echo failed; exit 3'
check "--halt now, with --keep-order: the job that failed is printed" 3

run -k --joblog log ::: 'exit 3' 'kill -TERM $$' 'echo four' ''
printf '%s\n' '1 : 0 0 3 0 exit 3' '2 : 0 0 0 15 kill -TERM $$' '3 : 0 5 0 0 echo four' '4 : 0 0 0 0 ' >expected
awk -F '\t' 'NR > 1 && $3 > 1e9 && $4 >= 0 && $4 < 60 { print $1, $2, $5, $6, $7, $8, $9 }' log | sort >output
cmp -s expected output && head -n 1 log |
  grep -qx 'Seq.Host.Starttime.JobRuntime.Send.Receive.Exitval.Signal.Command' || fail "--joblog"
pass "--joblog"

# --- output -----------------------------------------------------------------------------------------------------------

printf 'fast\nslow\n' >expected
run -j2 ::: "$(after fast 'echo slow')" 'touch fast; echo fast'
check "outputs as they come" 0
printf 'slow\nfast\n' >expected
run -j2 -k ::: 'sleep 0.5; echo slow' 'echo fast'; check "outputs in order" 0
run -j8 'for i in $(seq 500); do echo {}; done' ::: $(seq 20)
[ $status -eq 0 ] && [ "$(wc -l <output)" -eq 10000 ] && [ "$(uniq output | wc -l)" -eq 20 ] || fail "whole outputs"
pass "whole outputs"
run -j8 'for i in 1 2 3; do echo {} >&2; sleep 0.05; done' ::: $(seq 20)
[ $status -eq 0 ] && [ "$(wc -l <errors)" -eq 60 ] && [ "$(uniq errors | wc -l)" -eq 20 ] || fail "whole complaints"
pass "whole complaints"
run ::: 'head -c 40000000 /dev/zero'
[ $status -eq 0 ] && [ "$(wc -c <output)" -eq 40000000 ] || fail "a large output"
pass "a large output"

# A pipe that stays open: nothing must wait for more of it.
"$program" <pipe >output 2>errors &
pid=$!
exec 3>pipe
echo 'echo early' >&3
echo early >expected
within 10 cmp -s expected output || fail "a job is printed while there may be more input"
kill -INT $pid
within 10 gone $pid || fail "SIGINT while there may be more input"
wait $pid
[ $? -eq 130 ] || fail "SIGINT while there may be more input (status)"
exec 3>&-
pass "a job is printed, and SIGINT heard, while there may be more input"

# How far a slow job lets the others go ahead.
{ echo 'until [ -e go ]; do sleep 0.1; done'; yes true; } 2>/dev/null | "$program" -k -j4 --joblog log >output 2>errors &
pid=$!
within 10 test -s log || fail "--keep-order with a slow job (no job has ended)"
before=-1
while now=$(wc -l <log); [ "$now" -gt $before ]; do before=$now; sleep 2; done
[ $before -le 1005 ] || fail "--keep-order with a slow job ($before jobs have ended)"
kill -INT $pid
sleep 2 # until it has heard that
touch go
within 10 gone $pid || fail "--keep-order with a slow job, and SIGINT (it does not end)"
[ $(($(wc -l <log) - before)) -le 5 ] || fail "--keep-order with a slow job, and SIGINT (jobs were started)"
pass "--keep-order with a slow job"

yes | "$program" "sleep 0.01; echo" 2>errors | head -n 1 >output
within 10 grep -q '^parallel: write error: Broken pipe' errors || fail "nobody reads"
pass "nobody reads"
if [ -w /dev/full ]; then
  "$program" echo ::: a b >/dev/full 2>errors
  [ $? -eq 255 ] && grep -q '^parallel: write error: No space left' errors || fail "no room for the output"
  pass "no room for the output"
fi

run --bar -k echo ::: a b
printf 'a\nb\n' >expected
check "--bar without a terminal" 0
if script -qec true /dev/null >/dev/null 2>&1; then
  script -qec "$program --bar echo ::: a b" /dev/null </dev/null >output 2>errors
  grep -q '2 done, 0 failed, 0 running' output || fail "--bar"
  pass "--bar"
fi

# --- signals ----------------------------------------------------------------------------------------------------------

# start COMMAND-LINE...: two at a time; returns when the second has begun
start() {
  rm -f begun
  "$program" -j2 ::: "$@" <input >output 2>errors &
  pid=$!
  within 10 test -e begun || fail "$title (nothing was begun)"
}
# ended TITLE STATUS: before long, with what was expected, and without leaving anything behind
ended() {
  within 10 gone $pid || fail "$1 (it does not end)"
  wait $pid
  status=$?
  none_marked || fail "$1 (a process is left)"
  [ $status -eq "$2" ] || fail "$1 (status $status instead of $2)"
  cmp -s expected output || fail "$1 (output)"
  pass "$1"
}

echo finished >expected
for signal in INT HUP; do
  title="SIG$signal once"
  rm -f heard
  start "$(after heard 'echo finished')" 'touch begun' "$(after heard true)" 'echo no'
  sleep 0.1
  kill -$signal $pid
  touch heard
  [ $signal = INT ] && ended "$title" 130 || ended "$title" 129
done
: >expected
stubborn="trap '' TERM INT; touch begun; sleep $marker & sleep $marker; sleep $marker"
title="SIGINT twice"
start "sleep $marker" "$stubborn" 'echo no'
kill -INT $pid; sleep 2 # two that come together would be one
marked || fail "$title (killed by the first)"
kill -INT $pid
ended "$title" 130
title="SIGTERM"
start "sleep $marker" "$stubborn" 'echo no'
kill -TERM $pid
ended "$title" 143

# --- usage ------------------------------------------------------------------------------------------------------------

# refuse TEXT ARGUMENT...: status 255, nothing printed, and the text among the complaints
refuse() {
  text=$1
  shift
  run "$@"
  [ $status -eq 255 ] && [ ! -s output ] && grep -q -- "^parallel: .*$text" errors || fail "refused: parallel $*"
  pass "refused: parallel $*"
}
refuse 'unknown option --frob' --frob echo ::: 1
refuse 'unknown option -q' -q echo ::: 1
refuse 'from 1 to 4096, not "0"' -j0 echo ::: 1
refuse 'from 1 to 4096, not "2x"' --jobs=2x echo ::: 1
refuse 'from 1 to 4096, not ""' --jobs= echo ::: 1
refuse 'from 1 to 4096, not "+1"' -j +1 echo ::: 1
refuse '-j needs a value' -j
refuse 'from 0 to' --retries -1 echo ::: 1
refuse 'must be a number' --timeout nan echo ::: 1
refuse 'must be a number' --timeout 0 echo ::: 1
refuse 'must be now, soon or never' --halt later echo ::: 1
refuse '-k takes no value' -k2 echo ::: 1
refuse '--bar takes no value' --bar=yes echo ::: 1
refuse 'one list of arguments' echo ::: 1 ::: 2
refuse 'one list of arguments' echo :::: input
refuse 'one list of arguments' -a input echo ::: 1
refuse 'cannot open missing: No such file' -a missing echo
refuse 'cannot read .: Is a directory' -a . echo
refuse 'job log: No such file' --joblog missing/log echo ::: 1
run --help
[ $status -eq 0 ] && [ ! -s errors ] && grep -q '^Usage: parallel' output || fail "--help"
awk 'length > 80 { exit 1 } END { exit NR > 24 }' output || fail "--help does not fit a screen"
pass "--help"

echo "all as it should be"
