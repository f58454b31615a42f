// Access to the tree that a pickle became.
#include "models/files/pickle.h"

#include <charconv>

namespace {

void append_utf8(std::string& text, uint32_t code) {
    if (code < 0x80) {
        text += char(code);
    } else {
        const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        text += char((0xf0 << (3 - more) & 0xff) | code >> 6 * more);
        for (int i = more - 1; i >= 0; --i) text += char(0x80 | (code >> 6 * i & 0x3f));
    }
}

}  // namespace

std::string python_unescaped(std::string_view text) {
    std::string result;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || i + 1 == text.size()) {
            result += text[i];
            continue;
        }
        const char kind = text[++i];
        const size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
        uint32_t code = 0;
        const std::string_view number = text.substr(i + 1, digits);
        const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), code, 16);
        if (digits && error == std::errc() && end == number.data() + digits) {
            kind == 'x' ? void(result += char(code)) : append_utf8(result, code);
            i += digits;
        } else if (const size_t at = std::string_view("nrt").find(kind); at != std::string_view::npos) {
            result += "\n\r\t"[at];
        } else {
            if (digits) result += '\\';
            result += kind;
        }
    }
    return result;
}

const PickleNode* PickleValue::node() const {
    static const PickleNode nothing{};
    return tree_ ? &tree_->nodes[node_] : &nothing;
}

PickleKind PickleValue::kind() const { return node()->kind; }

int64_t PickleValue::integer() const {
    return is(PickleKind::integer) || is(PickleKind::boolean) ? node()->integer : 0;
}

double PickleValue::real() const { return is(PickleKind::real) ? node()->real : double(integer()); }

std::string_view PickleValue::text() const { return node()->text; }

size_t PickleValue::size() const {
    const bool pairs = is(PickleKind::dict) || is(PickleKind::object);
    return node()->children.size() / (pairs ? 2 : 1);
}

PickleValue PickleValue::operator[](size_t index) const {
    if (index >= size()) return {};
    const bool pairs = is(PickleKind::dict) || is(PickleKind::object);
    return {tree_, node()->children[pairs ? 2 * index + 1 : index]};
}

PickleValue PickleValue::key(size_t index) const {
    if (index >= size() || !(is(PickleKind::dict) || is(PickleKind::object))) return {};
    return {tree_, node()->children[2 * index]};
}

PickleValue PickleValue::find(std::string_view wanted) const {
    if (is(PickleKind::object) && state().is(PickleKind::dict))
        if (const PickleValue attribute = state().find(wanted); !attribute.is(PickleKind::absent)) return attribute;
    if (is(PickleKind::dict) || is(PickleKind::object))
        for (size_t i = size(); i-- > 0;)
            if (const PickleValue name = key(i); name.is(PickleKind::text) && name.text() == wanted) return (*this)[i];
    return {};
}

std::string_view PickleValue::type_name() const {
    const PickleValue called = callee();
    return called.is(PickleKind::global) ? called.text() : "";
}

PickleValue PickleValue::callee() const {
    return is(PickleKind::object) && node()->callee ? PickleValue{tree_, node()->callee} : PickleValue{};
}

PickleValue PickleValue::arguments() const {
    return node()->arguments ? PickleValue{tree_, node()->arguments} : PickleValue{};
}

PickleValue PickleValue::state() const { return node()->state ? PickleValue{tree_, node()->state} : PickleValue{}; }
