#include "models/files/pickle.h"

#include <bit>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace {

constexpr size_t kBytesLimit = size_t(64) << 20, kOpcodeLimit = 4'000'000, kNodeLimit = 2'000'000;

class Machine {
public:
    Machine(std::span<const std::byte> bytes, const std::string& label, PickleTree& tree)
        : bytes_(bytes), label_(label), tree_(tree) {}

    void run() {
        for (size_t count = 0; position_ < bytes_.size(); ++count) {
            if (position_ > kBytesLimit) damaged("more than {} MiB", kBytesLimit >> 20);
            if (count == kOpcodeLimit) damaged("more than {} steps", kOpcodeLimit);
            const uint8_t opcode = number<uint8_t>();
            if (opcode == '.') {
                tree_.root = pop();
                if (!stack_.empty() || !marks_.empty()) damaged("values are left over at its end");
                tree_.bytes_used = position_;
                return;
            }
            if (!constant(opcode) && !as_text(opcode) && !container(opcode) && !memo(opcode) && !call(opcode))
                damaged("step 0x{:02x} at byte {}, which no weight file needs", opcode, position_ - 1);
        }
        damaged("it ends before its STOP");
    }

private:
    bool constant(uint8_t opcode) {
        switch (opcode) {
            case 0x80:  // PROTO
                if (const uint8_t protocol = number<uint8_t>(); protocol > 5)
                    damaged("protocol {} is unknown", protocol);
                return true;
            case 0x95: read(number<uint64_t>(), false); return true;  // FRAME: only a hint of size
            case 'N': push({.kind = PickleKind::none}); return true;
            case 0x88: push_integer(1, PickleKind::boolean); return true;
            case 0x89: push_integer(0, PickleKind::boolean); return true;
            case 'J': push_integer(number<int32_t>()); return true;
            case 'K': push_integer(number<uint8_t>()); return true;
            case 'M': push_integer(number<uint16_t>()); return true;
            case 0x8a: push_long(number<uint8_t>()); return true;
            case 0x8b: push_long(number<uint32_t>()); return true;
            case 'G':
                push({.kind = PickleKind::real, .real = std::bit_cast<double>(__builtin_bswap64(number<uint64_t>()))});
                return true;
            case 'X':
            case 'T': push_text(number<uint32_t>()); return true;
            case 0x8c:
            case 'U': push_text(number<uint8_t>()); return true;
            case 0x8d: push_text(number<uint64_t>()); return true;
            case 'B': push_text(number<uint32_t>(), PickleKind::bytes); return true;
            case 'C': push_text(number<uint8_t>(), PickleKind::bytes); return true;
            case 0x8e:
            case 0x96: push_text(number<uint64_t>(), PickleKind::bytes); return true;
        }
        return false;
    }

    // Constants of protocol 0, each a line of text. Python 2 writes integers above 32 bits so in every protocol.
    bool as_text(uint8_t opcode) {
        switch (opcode) {
            case 'I':
            case 'L': {
                std::string_view digits = line();
                if (opcode == 'I' && (digits == "00" || digits == "01")) {
                    push_integer(digits[1] - '0', PickleKind::boolean);
                    return true;
                }
                if (digits.ends_with('L')) digits.remove_suffix(1);
                int64_t value = 0;
                const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
                if (error == std::errc::result_out_of_range)
                    push({.kind = PickleKind::bytes, .text = digits});
                else if (error != std::errc() || end != digits.data() + digits.size())
                    damaged("'{}' where a number belongs", digits.substr(0, 40));
                else
                    push_integer(value);
                return true;
            }
            case 'F':
                push({.kind = PickleKind::real, .real = std::strtod(std::string(line()).c_str(), nullptr)});
                return true;
            case 'S': {
                const std::string_view quoted = line();
                if (quoted.size() < 2 || quoted.front() != quoted.back()) damaged("a text without quotes");
                push_unescaped(quoted.substr(1, quoted.size() - 2));
                return true;
            }
            case 'V': push_unescaped(line()); return true;
        }
        return false;
    }

    bool container(uint8_t opcode) {
        switch (opcode) {
            case '0':
                if (!marks_.empty() && stack_.size() == marks_.back())
                    marks_.pop_back();
                else
                    pop();
                return true;
            case '1': pop_to_mark(); return true;
            case 'l': push({.kind = PickleKind::list, .children = pop_to_mark()}); return true;
            case 'd': {
                std::vector<uint32_t> items = pop_to_mark();
                push({.kind = PickleKind::dict});
                set_items(std::move(items));
                return true;
            }
            case '(': marks_.push_back(stack_.size()); return true;
            case ')': push({.kind = PickleKind::tuple}); return true;
            case 0x85:
            case 0x86:
            case 0x87: {
                std::vector<uint32_t> items(opcode - 0x84u);
                for (size_t i = items.size(); i-- > 0;) items[i] = pop();
                push({.kind = PickleKind::tuple, .children = std::move(items)});
                return true;
            }
            case 't': push({.kind = PickleKind::tuple, .children = pop_to_mark()}); return true;
            case 0x91: push({.kind = PickleKind::set, .children = pop_to_mark()}); return true;
            case ']': push({.kind = PickleKind::list}); return true;
            case '}': push({.kind = PickleKind::dict}); return true;
            case 0x8f: push({.kind = PickleKind::set}); return true;
            case 'a': append({pop()}, PickleKind::list); return true;
            case 'e': append(pop_to_mark(), PickleKind::list); return true;
            case 0x90: append(pop_to_mark(), PickleKind::set); return true;
            case 's': {
                const uint32_t value = pop(), key = pop();
                set_items({key, value});
                return true;
            }
            case 'u': set_items(pop_to_mark()); return true;
        }
        return false;
    }

    bool memo(uint8_t opcode) {
        switch (opcode) {
            case 'p': memo_[index()] = top(); return true;
            case 'g': recall(index()); return true;
            case 'q': memo_[number<uint8_t>()] = top(); return true;
            case 'r': memo_[number<uint32_t>()] = top(); return true;
            case 0x94: {
                const uint32_t next = uint32_t(memo_.size());
                memo_[next] = top();
                return true;
            }
            case 'h': recall(number<uint8_t>()); return true;
            case 'j': recall(number<uint32_t>()); return true;
        }
        return false;
    }

    bool call(uint8_t opcode) {
        switch (opcode) {
            case 'c': {
                const std::string_view module = line(), name = line();
                push_global(module, name);
                return true;
            }
            case 0x93: {
                const PickleNode name = tree_.nodes[pop()], module = tree_.nodes[pop()];
                if (name.kind != PickleKind::text || module.kind != PickleKind::text) damaged("a class without a name");
                push_global(module.text, name.text);
                return true;
            }
            case 'R':
            case 0x81: {
                const uint32_t arguments = pop(), callee = pop();
                reduce(callee, arguments);
                return true;
            }
            case 0x92: {  // NEWOBJ_EX
                pop();
                const uint32_t arguments = pop(), callee = pop();
                reduce(callee, arguments);
                return true;
            }
            case 'i':  // INST and OBJ: objects of Python 2's old classes
            case 'o': {
                std::vector<uint32_t> parts = pop_to_mark();
                if (opcode == 'i') {
                    const std::string_view module = line(), name = line();
                    push_global(module, name);
                    parts.insert(parts.begin(), pop());
                }
                if (parts.empty()) damaged("an object without a class");
                push({.kind = PickleKind::tuple, .children = {parts.begin() + 1, parts.end()}});
                reduce(parts[0], pop());
                return true;
            }
            case 'b': {
                const uint32_t state = pop();
                PickleNode& target = tree_.nodes[top()];
                if (target.kind == PickleKind::dict) return true;  // an OrderedDict's attributes are ignored
                if (target.kind != PickleKind::object) damaged("it sets the state of something that has none");
                target.state = state;
                return true;
            }
            case 'Q': {
                const uint32_t id = pop();
                const PickleNode& parts = tree_.nodes[id];
                // torch's older layout names a class of the network by ('module', class, file, source).
                if (parts.kind == PickleKind::tuple && parts.children.size() >= 2 &&
                    tree_.nodes[parts.children[0]].text == "module" &&
                    tree_.nodes[parts.children[1]].kind == PickleKind::global)
                    stack_.push_back(parts.children[1]);
                else
                    push({.kind = PickleKind::persistent, .arguments = id});
                return true;
            }
        }
        return false;
    }

    void reduce(uint32_t callee, uint32_t arguments) {
        const PickleNode &function = tree_.nodes[callee], &tuple = tree_.nodes[arguments];
        if (tuple.kind != PickleKind::tuple) damaged("a call without a tuple of arguments");
        if (function.kind != PickleKind::global && function.kind != PickleKind::object)
            damaged("a call of something that is not a name");
        const std::string_view name = function.kind == PickleKind::global ? function.text : "";
        const PickleNode* const only = tuple.children.size() == 1 ? &tree_.nodes[tuple.children[0]] : nullptr;
        const bool is_dict = name == "collections.OrderedDict" || name == "__builtin__.dict" || name == "builtins.dict";
        const bool is_set = name == "__builtin__.set" || name == "builtins.set";
        if (is_dict && tuple.children.empty()) {
            push({.kind = PickleKind::dict});
        } else if (is_dict && only && only->kind == PickleKind::list) {  // of pairs, as Python 2 writes them
            std::vector<uint32_t> items;
            for (const uint32_t pair : only->children) {
                const std::vector<uint32_t>& two = tree_.nodes[pair].children;
                if (two.size() != 2) damaged("an OrderedDict of something other than pairs");
                items.insert(items.end(), two.begin(), two.end());
            }
            copied(items.size());
            push({.kind = PickleKind::dict, .children = std::move(items)});
        } else if (is_set && only && only->kind == PickleKind::list) {
            push({.kind = PickleKind::set, .children = only->children});
            copied(tree_.nodes.back().children.size());
        } else {
            push({.kind = PickleKind::object, .callee = callee, .arguments = arguments});
        }
    }

    void append(std::vector<uint32_t> items, PickleKind kind) {
        PickleNode& target = tree_.nodes[top()];
        if (target.kind == PickleKind::object) return;  // elements of a foreign container are ignored
        if (target.kind != kind)
            damaged("it appends to something that is not a {}", kind == PickleKind::set ? "set" : "list");
        target.children.insert(target.children.end(), items.begin(), items.end());
    }

    void set_items(std::vector<uint32_t> items) {
        PickleNode& target = tree_.nodes[top()];
        if (target.kind != PickleKind::dict && target.kind != PickleKind::object)
            damaged("it sets items of something that is not a dict");
        if (items.size() % 2) damaged("a key without a value");
        target.children.insert(target.children.end(), items.begin(), items.end());
    }

    void push(PickleNode node) {
        if (tree_.nodes.size() >= kNodeLimit) damaged("more than {} values", kNodeLimit);
        stack_.push_back(uint32_t(tree_.nodes.size()));
        tree_.nodes.push_back(std::move(node));
    }
    void push_integer(int64_t value, PickleKind kind = PickleKind::integer) { push({.kind = kind, .integer = value}); }
    void push_text(uint64_t size, PickleKind kind = PickleKind::text) { push({.kind = kind, .text = read(size)}); }
    void push_unescaped(std::string_view text) {
        if (text.find('\\') != text.npos) text = tree_.names.emplace_back(python_unescaped(text));
        push({.kind = PickleKind::text, .text = text});
    }
    void push_long(uint64_t size) {
        const std::string_view digits = read(size);
        if (digits.size() > 8) return push({.kind = PickleKind::bytes, .text = digits});
        uint64_t value = !digits.empty() && digits.back() & 0x80 ? ~uint64_t(0) : 0;
        std::memcpy(&value, digits.data(), digits.size());
        push_integer(int64_t(value));
    }
    void push_global(std::string_view module, std::string_view name) {
        if (module.size() + name.size() > 1000) damaged("the name of a class is too long");
        const std::string& joined = tree_.names.emplace_back(std::string(module) + "." + std::string(name));
        push({.kind = PickleKind::global, .text = joined});
    }

    // Values below the last mark belong to the container that is being filled.
    void need_one() const {
        if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) damaged("it takes more values than it made");
    }
    uint32_t top() const {
        need_one();
        return stack_.back();
    }
    uint32_t pop() {
        const uint32_t value = top();
        stack_.pop_back();
        return value;
    }
    std::vector<uint32_t> pop_to_mark() {
        if (marks_.empty()) damaged("a container that was never begun");
        const auto begin = stack_.begin() + ptrdiff_t(marks_.back());
        std::vector<uint32_t> items(begin, stack_.end());
        stack_.erase(begin, stack_.end());
        marks_.pop_back();
        return items;
    }
    uint32_t index() {
        const std::string_view digits = line();
        uint32_t value = 0;
        if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec != std::errc())
            damaged("'{}' where the number of a kept value belongs", digits.substr(0, 40));
        return value;
    }
    void recall(uint32_t key) {
        const auto found = memo_.find(key);
        if (found == memo_.end()) damaged("it recalls value {}, which it never kept", key);
        stack_.push_back(found->second);
    }
    // Copies of one long list could otherwise grow with the square of the pickle.
    void copied(size_t count) {
        copied_ += count;
        if (copied_ > kNodeLimit) damaged("more than {} copied values", kNodeLimit);
    }

    template <class T>
    T number() {
        T value;
        std::memcpy(&value, read(sizeof value).data(), sizeof value);
        return value;
    }
    std::string_view read(uint64_t size, bool advance = true) {
        if (size > bytes_.size() - position_) damaged("{} bytes at byte {}, it has {}", size, position_, bytes_.size());
        const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + position_, size);
        if (advance) position_ += size;
        return text;
    }
    std::string_view line() {
        const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + position_,
                                    bytes_.size() - position_);
        const size_t length = rest.find('\n');
        if (length == rest.npos) damaged("a name without an end");
        position_ += length + 1;
        return rest.substr(0, length);
    }

    template <class... Parts>
    [[noreturn]] void damaged(fmt::format_string<Parts...> text, Parts&&... parts) const {
        fail(Fault::damaged, "{}: damaged pickle: {}; copy or download it again", label_,
             fmt::format(text, std::forward<Parts>(parts)...));
    }

    std::span<const std::byte> bytes_;
    const std::string& label_;
    PickleTree& tree_;
    size_t position_ = 0, copied_ = 0;
    std::vector<uint32_t> stack_;
    std::vector<size_t> marks_;
    std::unordered_map<uint32_t, uint32_t> memo_;
};

}  // namespace

std::unique_ptr<PickleTree> parse_pickle(std::span<const std::byte> bytes, const std::string& label) {
    auto tree = std::make_unique<PickleTree>();
    Machine(bytes, label, *tree).run();
    return tree;
}
