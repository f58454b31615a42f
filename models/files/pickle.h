// Python pickles as data: a machine that builds an inert tree and never calls, imports or executes anything.
//
// Classes and functions become names; the result of calling them becomes a record of the name, the arguments and
// the state. Only dict, OrderedDict and set turn into the container they are. Protocols 0 to 5, also as Python 2 writes
// them; opcodes that no weight file needs are refused. Nodes refer to each other by number, so that neither depth nor
// cycles cost stack when the tree is made or freed; code that walks a tree must limit depth and steps itself. Limits:
// 64 MiB, 4 million opcodes, 2 million values. https://github.com/python/cpython/blob/main/Lib/pickletools.py
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

enum class PickleKind : uint8_t {
    absent,  // no such value
    none,
    boolean,
    integer,
    real,
    text,
    bytes,  // bytes also stand for integers of more than 64 bits
    tuple,
    list,
    set,
    dict,
    global,     // a class or function: text() is "module.name"
    object,     // the result of a call: type_name(), arguments(), state(), and its items as of a dict
    persistent  // a persistent id: arguments()
};

struct PickleTree;

// A view of one value. Queries for something that is not there give `absent`, 0 or "", so that they can be chained.
class PickleValue {
public:
    PickleValue() = default;
    PickleValue(const PickleTree* tree, uint32_t node) : tree_(tree), node_(node) {}

    PickleKind kind() const;
    bool is(PickleKind kind) const { return this->kind() == kind; }
    bool is_global(std::string_view name) const { return is(PickleKind::global) && text() == name; }

    bool boolean() const { return integer() != 0; }
    int64_t integer() const;  // of integer and boolean
    double real() const;      // of real, integer and boolean
    std::string_view text() const;

    size_t size() const;                           // elements of tuple, list, set; entries of dict and object
    PickleValue operator[](size_t index) const;    // element, or value of an entry
    PickleValue key(size_t index) const;           // of dict and object
    PickleValue find(std::string_view key) const;  // last entry of that text key; object: attribute, then entry
    std::string_view type_name() const;            // of object: "torch.nn.modules.conv.Conv2d", or ""
    PickleValue callee() const;                    // of object: what was called to make it
    PickleValue arguments() const;
    PickleValue state() const;
    uint32_t id() const { return node_; }  // equal for the same Python object

private:
    const struct PickleNode* node() const;
    const PickleTree* tree_ = nullptr;
    uint32_t node_ = 0;
};

struct PickleNode {
    PickleKind kind = PickleKind::absent;
    int64_t integer = 0;
    double real = 0;
    std::string_view text{};
    std::vector<uint32_t> children{};  // of dict and object: key, value, key, value
    uint32_t callee = 0, arguments = 0, state = 0;
};

// Not movable: values point to it.
struct PickleTree {
    std::vector<PickleNode> nodes{1};  // node 0 is absent
    std::deque<std::string> names;     // texts that are not literally in the pickle
    uint32_t root = 0;
    size_t bytes_used = 0;  // up to and including STOP

    PickleTree() = default;
    PickleTree(const PickleTree&) = delete;
    PickleTree& operator=(const PickleTree&) = delete;
    PickleValue value() const { return {this, root}; }
};

// The text that Python's source means: \\ \' \" \n \r \t \xHH \uHHHH \UHHHHHHHH.
std::string python_unescaped(std::string_view text);

// One pickle from the start of `bytes`, which must outlive the tree. Errors (Fault::damaged) begin with `label`.
std::unique_ptr<PickleTree> parse_pickle(std::span<const std::byte> bytes, const std::string& label);
