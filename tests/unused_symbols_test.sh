#!/usr/bin/env bash
# Whatever a product header declares (function, method, type) is used by product code: it is named in another file than the
# header and the sources beside it (kernels/pool.h, .cpp, .cu), or once more in the header itself. Tests and benches are not
# users; the sources beside the header are where something defined elsewhere is used. Exceptions with their reason are in tests/unused_symbols.txt. virtual_gpu/ is exempt: it stands alone. About 1 s.
#
# This reads text, not C++: a name that something else carries too counts as used. It relies on clang-format's layout.
# usage: unused_symbols_test.sh BINARY SOURCE_DIR
set -u
cd "$2" || exit 2
product="base kernels engine models data predict train app"
# shellcheck disable=SC2086
unused=$(find $product -type f \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) | sort | xargs awk '
    FNR == 1 {
        unit = FILENAME
        sub(/\.(h|cpp|cuh|cu)$/, "", unit)
        header = FILENAME ~ /\.(h|cuh)$/
        private = 0
    }
    /^#/ { next }
    /^}/ { private = 0 }
    /^private:/ { private = 1 }
    /^public:/ { private = 0 }
    {
        line = $0
        gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
        gsub(/\/\*([^*]|\*[^\/])*\*\//, "", line)
        sub(/\/\/.*/, "", line)

        # A declaration or definition stands at the left margin, or one level down in a struct or class. It is not a use.
        name = ""
        if (line ~ /^(    )?[A-Za-z~\[]/ && line !~ /^ *(return|throw|using|namespace|case|if|for|while|public|private|protected|friend|switch|else|static_assert)([^A-Za-z_0-9]|$)/) {
            if (match(line, /^ *(struct|class|enum class|enum) [A-Za-z_0-9]+/) && line !~ /;[ ]*$/ || line ~ /^ *(struct|class).*\{.*\};$/) {
                name = substr(line, RSTART, RLENGTH)
                sub(/.* /, "", name)
                defined[name, unit] = 1
            } else if (match(line, /[A-Za-z_][A-Za-z_0-9]*\(/)) {
                before = substr(line, 1, RSTART - 1)
                if (before ~ /[A-Za-z_0-9>\]][*& ]+([A-Za-z_0-9]+::)*$/ && before !~ /=/) name = substr(line, RSTART, RLENGTH - 1)
            }
        }
        if (name == "compute") next  # every operation has it: that a kernel takes a struct does not use the struct
        if (name == "operator" || name == "alignas" || name == "decltype") name = ""
        if (name != "" && !header) defined[name, unit] = 1
        if (name != "" && header && !private && !((name, unit) in known)) {
            known[name, unit] = 1
            symbol[++symbols] = name
            place[symbols] = FILENAME
        }
        n = split(line, word, /[^A-Za-z_0-9]+/)
        for (i = 1; i <= n; i++) {
            if (word[i] == "") continue
            if (word[i] == name) { name = ""; continue }
            if (header) ++inside[FILENAME, word[i]]
            if (!((word[i], unit) in seen)) { seen[word[i], unit] = 1; ++units[word[i]] }
        }
    }
    END {
        for (s = 1; s <= symbols; s++) {
            unit = place[s]
            sub(/\.(h|cuh)$/, "", unit)
            users = units[symbol[s]]
            if ((symbol[s], unit) in defined) users -= (symbol[s], unit) in seen
            if (users < 1 && !inside[place[s], symbol[s]]) print place[s], symbol[s]
        }
    }' | sort)
excused=$(sed '/^#/d; /^$/d' tests/unused_symbols.txt | awk '{ print $1, $2 }' | sort)
named=$(awk 'NF { print $1, $2 }' <<<"$unused" | sort)
failed=0
extra=$(comm -23 <(echo "$named") <(echo "$excused") | grep .) && { echo "FAILED: no product code uses these; delete them, make them local to their .cpp, or excuse them in tests/unused_symbols.txt:"; echo "$extra"; failed=1; }
stale=$(comm -13 <(echo "$named") <(echo "$excused") | grep .) && { echo "FAILED: used by now or gone; remove from tests/unused_symbols.txt:"; echo "$stale"; failed=1; }
echo "$(grep -c . <<<"$named") symbols without a product user, $(grep -c . <<<"$excused") of them excused"
exit $failed
