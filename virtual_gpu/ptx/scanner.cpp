#include "scanner.h"

#include <algorithm>
#include <cctype>

namespace ptx {

std::string_view trimmed(std::string_view text) {
    const auto space = [](unsigned char c) { return std::isspace(c) != 0; };
    while (!text.empty() && space(text.front())) text.remove_prefix(1);
    while (!text.empty() && space(text.back())) text.remove_suffix(1);
    return text;
}

std::vector<std::string_view> split(std::string_view text, char at) {
    std::vector<std::string_view> parts;
    int depth = 0;
    size_t begin = 0;
    for (size_t i = 0; i <= text.size(); ++i) {
        const char c = i < text.size() ? text[i] : at;
        if (c == '{' || c == '[' || c == '(') ++depth;
        if (c == '}' || c == ']' || c == ')') --depth;
        if (i == text.size() || (c == at && depth == 0)) {
            if (const auto part = trimmed(text.substr(begin, i - begin)); !part.empty()) parts.push_back(part);
            begin = i + 1;
        }
    }
    return parts;
}

std::vector<std::string_view> members(std::string_view braced) {
    return split(braced.substr(1, braced.size() - 2), ',');
}

// Skips space and the braces of blocks: names are not hidden by blocks in what nvcc writes.
bool Scanner::at_end() {
    while (at_ < text_.size()) {
        const char c = text_[at_];
        if (!std::isspace(static_cast<unsigned char>(c)) && c != '{' && c != '}' && c != ';') return false;
        line_ += c == '\n';
        ++at_;
    }
    return true;
}

std::string_view Scanner::up_to(std::string_view ends) {
    const size_t begin = at_, end = std::min(text_.find_first_of(ends, at_), text_.size());
    line_ += uint32_t(std::count(text_.begin() + long(begin), text_.begin() + long(end), '\n'));
    at_ = end;
    return text_.substr(begin, end - begin);
}

bool Scanner::next(Statement& statement) {
    statement = {};
    if (at_end()) return false;
    statement.line = line_;
    std::string_view text;
    if (text_[at_] == '$') {
        statement.label = trimmed(up_to(":"));
        ++at_;
        return true;
    }
    // .loc and .file end with their line.
    const bool by_line =
        text_.substr(at_, 5) == ".loc\t" || text_.substr(at_, 5) == ".loc " || text_.substr(at_, 5) == ".file";
    text = trimmed(up_to(by_line ? "\n" : ";"));
    if (text.front() == '@') {
        const size_t end = text.find_first_of(" \t");
        statement.guard = text.substr(1, end - 1);
        if (statement.negated = statement.guard.front() == '!'; statement.negated) statement.guard.remove_prefix(1);
        text = trimmed(text.substr(end));
    }
    const size_t end = std::min(text.find_first_of(" \t\n"), text.size());
    statement.opcode = text.substr(0, end);
    statement.rest = trimmed(text.substr(end));
    if (!by_line) statement.operands = split(statement.rest, ',');
    return true;
}

}  // namespace ptx
