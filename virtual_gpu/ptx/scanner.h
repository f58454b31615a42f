// The statements of PTX text, one after the other.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace ptx {

// "@!%p1 add.s32 %r1, %r2, 3;", a directive (the opcode then begins with a dot) or a label.
struct Statement {
    uint32_t line = 0;
    std::string_view label, guard, opcode, rest;  // rest: what follows the opcode
    bool negated = false;
    std::vector<std::string_view> operands;
};

std::string_view trimmed(std::string_view text);
std::vector<std::string_view> split(std::string_view text, char at);  // not within braces, brackets or parentheses
std::vector<std::string_view> members(std::string_view braced);       // of "{a, b}"

class Scanner {
public:
    // Comments have been blanked out of `text`, which outlives the scanner.
    Scanner(std::string_view text, uint32_t first_line) : text_(text), line_(first_line) {}

    bool next(Statement& statement);

private:
    bool at_end();
    std::string_view up_to(std::string_view ends);

    std::string_view text_;
    size_t at_ = 0;
    uint32_t line_;
};

}  // namespace ptx
