#!/usr/bin/env bash
# Called by cmake/levels.cmake with a folder and the objects of each level:  FOLDER plain A.o B.o avx2 A.o B.o avx512 ...
#
# The objects of a level become one, LEVEL.o. Its code lies in the section level_NAME (plain: .text), and inline functions of
# headers are its own: one that is compiled with AVX-512 cannot be picked by the linker for the rest of the program, where old
# processors would meet it (tests/other_machines_test.sh looks). A function f() of the sources is called LEVEL.f there; f itself is a
# stub in stubs.o, which jumps to that of the level tundra_cpu_level (base/cpu_level.cpp).
set -euo pipefail
cd "$1"
shift
levels="" level=""
declare -A objects
for word in "$@"; do
    case $word in
        *.o) objects[$level]+=" $word" ;;
        *) level=$word levels+=" $word" objects[$word]="" ;;
    esac
done

for level in $levels; do
    section=level_$level
    [ "$level" != plain ] || section=.text
    echo "SECTIONS { $section : { *(.text .text.*) } }" >"$level.ld"
    # shellcheck disable=SC2086
    "$LD" -r --force-group-allocation -T "$level.ld" ${objects[$level]} -o "$level.all.o"
    # What other files may use: all but inline functions. Instances of templates that are operations look like those. Variables
    # of inline functions (u) stay global, but under another name.
    "$NM" -gp --defined-only "$level.all.o" |
        awk '$2 ~ /[TDRBu]/ || $2 == "W" && $3 ~ /^_Z(7compute|14compute_direct|13scratch_bytes)I/ { print $2, $3 }' >"$level.symbols"
    if [ "$level" = plain ] && grep '^[DRB]' plain.symbols; then
        echo "levels: these variables would exist once per level" >&2
        exit 1
    fi
    if [ "$level" != plain ] && "$OBJDUMP" -h "$level.all.o" | grep -E ' \.(init_array|ctors)'; then
        echo "levels: a constructor of a static variable would run on every processor" >&2
        exit 1
    fi
    awk -v level="$level" 'pass == 1 { plain[$2]; next } $2 in plain || $1 == "u" { print $2, level "." $2 }' pass=1 plain.symbols pass=2 "$level.symbols" >"$level.rename"
    awk 'pass == 1 { to[$1] = $2; next } { print $2 in to ? to[$2] : $2 }' pass=1 "$level.rename" pass=2 "$level.symbols" >"$level.keep"
    if [ -s "$level.keep" ]; then
        "$OBJCOPY" --redefine-syms="$level.rename" --keep-global-symbols="$level.keep" "$level.all.o" "$level.o"
    else
        cp "$level.all.o" "$level.o"  # no sources at this level
    fi
done

grep "^[TW]" plain.symbols >plain.functions
# What a level lacks it takes from the one below.
cat ./*.keep | awk -v levels="$levels" '
    NR == FNR { has[$1]; next }
    {
        n = split(levels, level, " ")
        for (i = 1; i <= n; ++i) {
            if (level[i] "." $2 in has) best = level[i] "." $2
            addresses = (i == 1 ? "" : addresses ", ") best
        }
        print ".text\n.globl " $2 "\n.type " $2 ", @function\n" $2 ":"
        print "    movslq tundra_cpu_level(%rip), %rax\n    lea 1f(%rip), %r11\n    jmp *(%r11,%rax,8)\n.size " $2 ", . - " $2
        print ".section .data.rel.ro, \"aw\"\n.balign 8\n1:  .quad " addresses
    }
    END { print ".section .note.GNU-stack, \"\", @progbits" }' - plain.functions >stubs.s
"$CXX" -c stubs.s -o stubs.o
