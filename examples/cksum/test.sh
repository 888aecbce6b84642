#!/bin/sh
# test.sh PROGRAM: checks that PROGRAM prints what the cksum of the core utilities does, and behaves when it cannot.
set -u
LC_ALL=C
export LC_ALL

[ $# -eq 1 ] || { echo "usage: test.sh PROGRAM" >&2; exit 2; }
program=$(realpath "$1") || exit 2
command -v cksum >/dev/null || { echo "skipped: there is no cksum to compare with"; exit 0; }

work=$(mktemp -d) || exit 2
trap 'chmod -R u+rwx "$work"; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"
mkdir "$work/tree"
cd "$work/tree" || exit 2

pass() { echo "ok: $1"; }
skip() { echo "skipped: $1"; }
fail() {
  echo "FAILED: $1"
  [ ! -s ../expected ] || { echo "expected:"; head -n 20 ../expected; }
  [ ! -s ../output ] || { echo "printed:"; head -n 20 ../output; }
  [ ! -s ../errors ] || { echo "complained:"; head -n 20 ../errors; }
  exit 1
}

# run ARGUMENT...: leaves ../output, ../errors and $status
run() {
  "$program" "$@" >../output 2>../errors
  status=$?
}

# check TITLE STATUS: the last run printed ../expected, complained of ../complaints, and ended with the status
check() {
  [ "$status" -eq "$2" ] || fail "$1 (status $status instead of $2)"
  cmp -s ../expected ../output || fail "$1 (output)"
  cmp -s ../complaints ../errors || fail "$1 (complaints)"
  pass "$1"
}

# bytes COUNT: so many, no two lines of them alike
bytes() { seq -f 'line number %.0f' 1 $(($1 / 12 + 1)) | head -c "$1"; }

# --- the tree ---------------------------------------------------------------------------------------------------------

: >empty
printf x >one
for size in 2 15 16 17 255 256 65536 131071 131072 131073 262143 262144 262145 1000000; do
  bytes $size >"size $size"
done
mkdir -p 'a/b/c/d/e' 'a/.hidden' 'empty folder' 'a b'
for name in ' leading' 'trailing ' -dash --jobs .dot "apo'strophe" '"quotes"' 'back\slash' '$HOME' '*' 'tab	tab' 'new
line' '
' 'é' a.c a-c; do bytes 30 >"./$name"; done
invalid=$(printf 'invalid \377\376')
if (printf y >"$invalid") 2>/dev/null; then :; else skip "names that are no UTF-8: this file system refuses them"; fi
bytes 20 >a/x; bytes 21 >a/b/y; bytes 22 >a/b/c/d/e/z; bytes 23 >a/.hidden/h; bytes 24 >'a b/f'
long=$(printf '%0200d' 7)
mkdir "$long" && bytes 25 >"$long/$long"
ln -s one link; ln -s a folderlink; ln -s nowhere broken; ln -s . a/loop
mkfifo pipe

# What is expected below the paths "$@", in the order of the names.
expect_below() {
  find -H "$@" -type f -print0 | sort -z | xargs -0 -r cksum -- >../expected
}
: >../complaints

# --- the same lines ---------------------------------------------------------------------------------------------------

expect_below .
[ "$(wc -l <../expected)" -gt 30 ] || fail "there should be more files"
run .;             check "a folder" 0
run --jobs 1 .;    check "a folder, with one job" 0
run --jobs=7 .;    check "a folder, with seven jobs" 0
run . --jobs 64;   check "a folder, options last" 0
expect_below ./a/;         run ./a/;         check "a folder with a slash" 0
expect_below folderlink;   run folderlink;   check "a link to a folder" 0
expect_below "$work/tree"; run "$work/tree"; check "a folder by its absolute name" 0
: >../expected;            run 'empty folder'; check "an empty folder" 0

for file in empty one 'size 131072' 'size 131073' 'new
line' link; do
  cksum -- "$file" >../expected
  run "$file"
  check "a single file: $file" 0
done
cksum -- -dash --jobs >../expected
run -- -dash --jobs
check "names that look like options" 0
cksum one empty one a/x 'size 17' a/b/y >../expected
run one empty one a/x 'size 17' a/b/y
check "files in the order in which they are given, repeated if need be" 0
{ cksum one; find a -type f -print0 | sort -z | xargs -0 cksum; cksum empty; } >../expected
run one a empty
check "files and folders mixed" 0
bytes 300000 | cksum | sed 's,$, pipe,' >../expected
bytes 300000 >pipe &
run pipe
check "a named pipe, given as an argument" 0

# More files than are ever looked at together.
mkdir many
(cd many && seq 3000 | split -l 1 -a 4 - file)
expect_below many
run --jobs 4 many
check "three thousand files" 0
rm -r many

# Whether a file of more than 4 GiB is worth the wait shows on a smaller one.
if truncate -s 256M ../sparse 2>/dev/null; then
  start=$(date +%s%N)
  "$program" ../sparse >../output
  took=$(($(date +%s%N) - start))
  if [ $took -lt 500000000 ] && truncate -s 4294967297 ../sparse; then
    cksum ../sparse >../expected
    run ../sparse
    check "a file of 4 GiB and a byte" 0
  else
    skip "a file of 4 GiB and a byte: it would take too long here"
  fi
  rm ../sparse
fi

# --- what cannot be read ----------------------------------------------------------------------------------------------

cksum one missing 'also missing' "it isn't" '' broken one/ empty >../expected 2>../complaints
sed "s,^[^:]*cksum: ,cksum: ," ../complaints >../c && mv ../c ../complaints
run one missing 'also missing' "it isn't" '' broken one/ empty
check "files that do not exist" 1

mkdir locked
bytes 40 >locked/inside; bytes 41 >locked/closed; bytes 42 >secret; mkdir locked/dungeon
chmod 000 secret locked/closed locked/dungeon
{ cksum locked/inside; cksum one; } >../expected
{
  echo "cksum: locked/closed: Permission denied"
  echo "cksum: locked/dungeon: Permission denied"
  echo "cksum: secret: Permission denied"
} >../complaints
if [ "$(id -u)" -ne 0 ]; then
  run locked secret one
  check "files and folders without permission" 1
elif setpriv --reuid=65534 --regid=65534 --clear-groups "$program" --help >/dev/null 2>&1; then
  setpriv --reuid=65534 --regid=65534 --clear-groups "$program" locked secret one >../output 2>../errors
  status=$?
  check "files and folders without permission" 1
else
  skip "files and folders without permission: root has them all, and cannot become somebody else here"
fi
chmod -R u+rwx locked secret
rm -r locked secret

if [ -w /dev/full ]; then
  "$program" one >/dev/full 2>../errors
  status=$?
  : >../expected; : >../output
  echo "cksum: write error: No space left on device" >../complaints
  check "no room for the output" 1
fi

# --- usage ------------------------------------------------------------------------------------------------------------

# refuse TEXT ARGUMENT...: status 2, nothing printed, and the text and the usage among the complaints
refuse() {
  text=$1
  shift
  run "$@"
  [ "$status" -eq 2 ] && [ ! -s ../output ] && grep -qe "$text" ../errors && grep -q '^Usage: cksum' ../errors ||
    fail "refused: cksum $*"
  pass "refused: cksum $*"
}
: >../expected
refuse 'no file'
refuse 'no file' --
refuse 'standard input' -
refuse 'standard input' one -
refuse 'unknown option --frob' --frob one
refuse 'unknown option -x' -x one
refuse 'from 1 to 256, not 0' --jobs 0 one
refuse 'from 1 to 256, not x' --jobs x one
refuse 'from 1 to 256, not 257' --jobs 257 one
refuse 'from 1 to 256, not -1' --jobs -1 one
refuse 'from 1 to 256, not 3x' --jobs 3x one
refuse 'from 1 to 256, not 99999999999999999999' --jobs=99999999999999999999 one
refuse "from 1 to 256, not ''" --jobs= one
refuse 'needs a number' one --jobs
run --help
[ "$status" -eq 0 ] && [ ! -s ../errors ] && grep -q '^Usage: cksum' ../output || fail "--help"
pass "--help"

# --- signals ----------------------------------------------------------------------------------------------------------

# interrupt TITLE SIGNAL STATUS ARGUMENT...: started, sent the signal, and gone with the status soon after
interrupt() {
  title=$1 signal=$2 wanted=$3
  shift 3
  "$program" "$@" >../output 2>../errors &
  pid=$!
  sleep 2 # what can be read has been, even on a busy machine
  kill -"$signal" $pid 2>/dev/null || fail "$title (ended by itself)"
  tries=0
  while kill -0 $pid 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -le 200 ] || { kill -KILL $pid; fail "$title (still there ten seconds later)"; }
    sleep 0.05
  done
  wait $pid
  status=$?
  [ $status -eq "$wanted" ] || fail "$title (status $status instead of $wanted)"
  cmp -s ../expected ../output || fail "$title (output)"
  [ ! -s ../errors ] || fail "$title (complaints)"
  pass "$title"
}

cksum one >../expected
interrupt "SIGINT while a pipe keeps silent" INT 130 one pipe empty
interrupt "SIGTERM while a pipe keeps silent" TERM 143 one pipe empty
if truncate -s 1T ../huge 2>/dev/null || truncate -s 64G ../huge; then
  interrupt "SIGINT amidst a huge file" INT 130 one ../huge empty
  interrupt "SIGTERM amidst a huge file" TERM 143 one ../huge empty
  interrupt "SIGINT amidst huge files" INT 130 --jobs 4 one ../huge ../huge ../huge ../huge ../huge empty
else
  skip "SIGINT amidst a huge file: this file system has no sparse ones"
fi

echo "all as it should be"
