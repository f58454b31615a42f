// From statements to instructions: registers get places in a warp's memory, constants and special registers too.
#include "decoder.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <unordered_map>

#include "forms.h"
#include "scanner.h"

namespace ptx {

using std::string_view;
using Names = std::vector<string_view>;

size_t number_in(string_view text) { return std::strtoull(std::string(text).c_str(), nullptr, 0); }

namespace {
// Bytes of ".u32", ".pred" (1), ".b64", without the dot too.
size_t bytes_of_type(string_view type) {
    if (type.ends_with("pred")) return 1;
    const size_t digits = type.find_first_of("0123456789");
    if (digits == type.npos) throw Error("unknown type " + std::string(type));
    return number_in(type.substr(digits)) / 8;
}

}  // namespace

std::pair<string_view, Variable> declared(string_view text) {
    Variable v{0, 0};
    string_view name;
    size_t element = 0, count = 1;
    Names words;
    for (size_t begin = 0; (begin = text.find_first_not_of(" \t\n", begin)) != text.npos;) {
        const size_t end = std::min(text.find_first_of(" \t\n", begin), text.size());
        words.push_back(text.substr(begin, end - begin));
        begin = end;
    }
    for (size_t w = 0; w < words.size(); ++w) {
        if (words[w] == ".align")
            v.align = std::max(v.align, number_in(words[++w]));
        else if (words[w].front() != '.')
            name = words[w];
        else if (element == 0 && words[w].find_first_of("0123456789") != string_view::npos)
            element = bytes_of_type(words[w]);
    }
    if (const size_t bracket = name.find('['); bracket != name.npos) {
        count = number_in(name.substr(bracket + 1));  // [] of dynamic shared memory: 0
        name = name.substr(0, bracket);
    }
    v.align = std::max({v.align, element, size_t(1)});
    v.bytes = element * count;
    return {name, v};
}

namespace {

struct Register {
    uint32_t offset = 0;
    uint32_t lane = 4;  // bytes
};

class Decoder {
public:
    Decoder(Kernel& kernel, const Variables& module_shared) : kernel_(kernel), module_shared_(module_shared) {}

    void parameter(string_view text) {
        auto [name, variable] = declared(text);
        if (text.find(".ptr") != text.npos) variable.align = 8;  // the .align behind .ptr is that of what it points to
        size_t& end = kernel_.parameter_bytes;
        end = (end + variable.align - 1) / variable.align * variable.align;
        kernel_.parameters.push_back({end, variable.bytes});
        symbols_[name] = end;
        end += variable.bytes;
    }

    void statement(const Statement& s) {
        line_ = s.line;
        if (!s.label.empty()) {
            labels_[s.label] = uint32_t(kernel_.code.size());
        } else if (s.opcode == ".loc") {
            const std::string text(s.rest);
            char* end = nullptr;
            file_ = uint32_t(std::strtoul(text.c_str(), &end, 10));
            if (const auto line = uint32_t(std::strtoul(end, nullptr, 10)); line) file_line_ = line;
        } else if (s.opcode == ".reg") {
            registers(s);
        } else if (s.opcode == ".shared") {
            const auto [name, variable] = declared(s.rest);
            shared(name, variable);
        } else if (s.opcode.front() == '.') {
            if (s.opcode != ".pragma") throw Error("unknown directive");
        } else {
            instruction(s);
        }
    }

    void finish() {
        for (const auto& [at, label, line] : jumps_) {
            line_ = line;
            const auto found = labels_.find(label);
            if (found == labels_.end()) throw Error("unknown label " + std::string(label));
            kernel_.code[at].target = found->second;
        }
        if (kernel_.code.empty() || kernel_.code.back().kind == Kind::plain) throw Error("the kernel has no end");
        size_t& end = kernel_.shared_bytes;
        end = (end + dynamic_align_ - 1) / dynamic_align_ * dynamic_align_;
        kernel_.dynamic_shared = end + kSharedGap * kernel_.shared_arrays.size();
        if (dynamic_[0]) kernel_.constants32.emplace_back(dynamic_[0], uint32_t(kernel_.dynamic_shared));
        if (dynamic_[1]) kernel_.constants64.emplace_back(dynamic_[1], kernel_.dynamic_shared);
        kernel_.register_bytes = next_;
    }
    uint32_t line() const { return line_; }

private:
    struct Jump {
        size_t at;
        string_view label;
        uint32_t line;
    };

    uint32_t place(uint32_t lane) {
        const uint32_t offset = next_;
        next_ += 32 * lane;
        return offset;
    }
    void registers(const Statement& s) {  // .reg .b32 %r<110>, %x
        const size_t space = s.rest.find_first_of(" \t");
        const uint32_t lane = bytes_of_type(s.rest.substr(0, space)) == 8 ? 8 : 4;
        for (const string_view name : split(s.rest.substr(space), ',')) {
            if (const size_t angle = name.find('<'); angle != name.npos)
                families_[name.substr(0, angle)] = lane;
            else
                registers_.try_emplace(name, Register{place(lane), lane});
        }
    }
    void shared(string_view name, const Variable& v) {
        size_t& end = kernel_.shared_bytes;
        end = (end + v.align - 1) / v.align * v.align;
        symbols_[name] = end + kSharedGap * kernel_.shared_arrays.size();
        kernel_.shared_arrays.emplace_back(symbols_[name], v.bytes);
        end += v.bytes;
    }
    const Register* find_register(string_view name) {
        if (const auto found = registers_.find(name); found != registers_.end()) return &found->second;
        const size_t digits = name.find_last_not_of("0123456789") + 1;
        const auto family = families_.find(name.substr(0, digits));
        if (family == families_.end() || digits == name.size()) return nullptr;
        return &(registers_[name] = {place(family->second), family->second});
    }
    const Register& register_named(string_view name) {
        if (const Register* r = find_register(name)) return *r;
        throw Error("unknown register " + std::string(name));
    }
    uint32_t constant(uint64_t bits, uint32_t lane) {
        if (lane == 4) bits = uint32_t(bits);
        uint32_t& offset = constants_[{bits, lane}];
        if (offset == 0) {
            offset = place(lane);
            if (lane == 8)
                kernel_.constants64.emplace_back(offset, bits);
            else
                kernel_.constants32.emplace_back(offset, uint32_t(bits));
        }
        return offset;
    }
    uint32_t special(string_view name) {
        for (const string_view axis : {".x", ".y", ".z"})
            for (const string_view known : {"%tid", "%ntid", "%ctaid", "%nctaid"})
                if (name.size() == known.size() + 2 && name.starts_with(known) && name.ends_with(axis)) {
                    for (const auto& [other, offset] : kernel_.special)
                        if (other == name) return offset;
                    return kernel_.special.emplace_back(name, place(4)).second;
                }
        throw Error("unknown register " + std::string(name));
    }

    // A register, a constant, or the address of a variable, read as `bytes` bytes.
    uint32_t source(string_view text, unsigned bytes) {
        const uint32_t lane = bytes == 8 ? 8 : 4;
        if (const Register* found = find_register(text)) {
            if (found->lane == lane) return found->offset;
            if (lane == 8) throw Error(std::string(text) + " is read as 64 bits and has fewer");
            // The lower half is meant.
            Instruction low = blank();
            low.run = forms().at("cvt.u32.u64").run;
            low.in[0] = found->offset;
            low.out = place(4);
            kernel_.code.push_back(low);
            return low.out;
        }
        if (text.front() == '%') return special(text);
        if (text.starts_with("0f") || text.starts_with("0F") || text.starts_with("0d") || text.starts_with("0D")) {
            if ((std::tolower(text[1]) == 'd') != (bytes == 8)) throw Error("a constant of another size");
            return constant(std::strtoull(std::string(text.substr(2)).c_str(), nullptr, 16), lane);
        }
        if (std::isdigit(static_cast<unsigned char>(text.front())) || text.front() == '-') {
            const bool negative = text.front() == '-';
            const uint64_t value = number_in(negative ? text.substr(1) : text);
            if (bytes == 1) return constant(value ? ~0u : 0, 4);
            return constant(negative ? -value : value, lane);
        }
        if (!symbols_.contains(text)) {
            const auto outer = module_shared_.find(text);
            if (outer == module_shared_.end()) throw Error("unknown name " + std::string(text));
            if (outer->second.bytes == 0) {  // dynamic: behind all others
                dynamic_align_ = std::max(dynamic_align_, outer->second.align);
                uint32_t& offset = dynamic_[lane / 8];
                return offset ? offset : offset = place(lane);
            }
            shared(text, outer->second);
        }
        return constant(symbols_.at(text), lane);
    }
    uint32_t result(string_view text, unsigned bytes) {
        const Register& r = register_named(text);
        if (r.lane != (bytes == 8 ? 8u : 4u)) throw Error(std::string(text) + " has another size than the result");
        return r.offset;
    }

    Instruction blank() const {
        Instruction i;
        i.line = line_, i.file = file_, i.file_line = file_line_;
        return i;
    }

    void instruction(const Statement& s) {
        const auto found = forms().find(s.opcode);
        if (found == forms().end()) throw Error("unknown opcode " + std::string(s.opcode));
        const Form& form = found->second;
        Instruction i = blank();
        i.run = form.run;
        i.space = form.space;
        if (!s.guard.empty()) i.guard = register_named(s.guard).offset, i.negated = s.negated;
        const auto expect = [&](size_t count) {
            if (s.operands.size() != count) throw Error(std::string(s.opcode) + " with another number of operands");
        };
        switch (form.layout) {
            case Form::plain: {
                size_t inputs = 0;
                while (inputs < 3 && form.in[inputs]) ++inputs;
                expect(inputs + 1);
                for (size_t n = 0; n < inputs; ++n) i.in[n] = source(s.operands[n + 1], form.in[n]);
                i.out = result(s.operands[0], form.out);
                break;
            }
            case Form::memory: memory(s, form, i); break;
            case Form::vector_move: vector_move(s, form, i); break;
            case Form::shuffle: {  // d|p, a, b, c, members
                expect(5);
                const Names to = split(s.operands[0], '|');
                i.kind = Kind::collective;
                i.out = result(to[0], 4);
                if (to.size() > 1) i.element[1] = result(to[1], 1);
                for (size_t n = 0; n < 3; ++n) i.in[n] = source(s.operands[n + 1], 4);
                i.element[0] = source(s.operands[4], 4);
                break;
            }
            case Form::vote: {  // d, p, members
                expect(3);
                i.kind = Kind::collective;
                i.out = result(s.operands[0], form.out);
                i.in[0] = source(s.operands[1], form.in[0]);
                i.element[0] = source(s.operands[2], 4);
                break;
            }
            case Form::barrier_warp:
                expect(1);
                i.kind = Kind::collective;
                i.element[0] = source(s.operands[0], 4);
                break;
            case Form::barrier:
                if (s.operands.size() != 1 || s.operands[0] != "0")
                    throw Error("only barrier 0 of all threads is known");
                i.kind = Kind::barrier;
                break;
            case Form::branch:
                expect(1);
                i.kind = Kind::branch;
                jumps_.push_back({kernel_.code.size(), s.operands[0], line_});
                break;
            case Form::exit: i.kind = Kind::exit; break;
        }
        kernel_.code.push_back(i);
    }

    void memory(const Statement& s, const Form& form, Instruction& i) {  // ld d, [a+4]; st [a], b; atom d, [a], b, c
        const bool atomic = form.run != nullptr;
        if (s.operands.size() < 2) throw Error(std::string(s.opcode) + " with too few operands");
        const string_view bracket = s.operands[form.store ? 0 : 1];
        string_view address = trimmed(bracket.substr(1, bracket.size() - 2));
        if (const size_t plus = address.find('+'); plus != address.npos) {
            i.offset = std::strtoll(std::string(address.substr(plus + 1)).c_str(), nullptr, 0);
            address = trimmed(address.substr(0, plus));
        }
        const Register* base = find_register(address);
        i.wide_address = !base || base->lane == 8;
        i.in[0] = source(address, i.wide_address ? 8 : 4);
        if (atomic) {
            if (!form.store) i.out = result(s.operands[0], form.out);
            for (size_t n = 2; n < s.operands.size() + form.store && n < 4; ++n)
                i.in[n - 1] = source(s.operands[n - form.store], form.out);
            return;
        }
        const string_view values = s.operands[form.store ? 1 : 0];
        const Names list = values.front() == '{' ? members(values) : Names{values};
        if (list.size() != form.elements) throw Error(std::string(s.opcode) + " with another number of elements");
        uint32_t lane = 0;
        for (size_t n = 0; n < list.size(); ++n) {
            const Register* r = find_register(list[n]);
            if (!r && !form.store) throw Error("unknown register " + std::string(list[n]));
            const uint32_t this_lane = r ? r->lane : form.out == 8 ? 8 : 4;
            if (lane && lane != this_lane) throw Error("elements of different sizes");
            lane = this_lane;
            i.element[n] = r ? r->offset : source(list[n], form.out);
        }
        i.run = form.by_lane[lane / 8];
        if (!i.run) throw Error("registers that are too small for " + std::string(s.opcode));
    }

    // mov.b32 {%rs1, %rs2}, %r1 and back, besides the plain move of the same name.
    void vector_move(const Statement& s, const Form& form, Instruction& i) {
        if (s.operands.size() != 2) throw Error("mov with another number of operands");
        const bool apart = s.operands[0].front() == '{', together = s.operands[1].front() == '{';
        if (!apart && !together) {
            i.in[0] = source(s.operands[1], form.out);
            i.out = result(s.operands[0], form.out);
            return;
        }
        const Names parts = members(s.operands[apart ? 0 : 1]);
        const unsigned bytes = form.out / unsigned(parts.size());
        const auto found = forms().find(std::string(apart ? "unpack." : "pack.") + std::to_string(parts.size()) + "." +
                                        std::to_string(form.out));
        if (found == forms().end()) throw Error("unknown vector move");
        i.run = found->second.run;
        for (size_t n = 0; n < parts.size(); ++n)
            i.element[n] = apart ? result(parts[n], bytes) : source(parts[n], bytes);
        if (apart)
            i.in[0] = source(s.operands[1], form.out);
        else
            i.out = result(s.operands[0], form.out);
    }

    Kernel& kernel_;
    const Variables& module_shared_;
    std::unordered_map<string_view, Register> registers_;
    std::map<string_view, uint32_t> families_;         // "%r": bytes of a lane
    std::unordered_map<string_view, size_t> symbols_;  // shared variables and parameters: their offsets
    std::map<std::pair<uint64_t, uint32_t>, uint32_t> constants_;
    std::unordered_map<string_view, uint32_t> labels_;
    std::vector<Jump> jumps_;
    uint32_t next_ = 256;       // 0 means none
    uint32_t dynamic_[2] = {};  // registers with the offset of dynamic shared memory, of 32 and 64 bits
    size_t dynamic_align_ = 1;
    uint32_t line_ = 0, file_ = 0, file_line_ = 0;
};

}  // namespace

void decode(Kernel& kernel, string_view parameters, string_view body, uint32_t line, const Variables& module_shared) {
    Decoder decoder(kernel, module_shared);
    try {
        for (const string_view p : split(parameters, ',')) decoder.parameter(p);
        Scanner scanner(body, line);
        for (Statement s; scanner.next(s);) decoder.statement(s);
        decoder.finish();
    } catch (const std::exception& error) {
        throw Error(readable(kernel.name) + ": PTX line " + std::to_string(decoder.line()) + ": " + error.what() +
                    ": " + std::string(trimmed(kernel.module->lines.at(std::max(decoder.line(), 1u) - 1))));
    }
}

const Forms& forms() {
    static const Forms all = [] {
        Forms f;
        add_arithmetic(f), add_floats(f), add_comparisons(f), add_conversions(f), add_memory(f), add_warp_operations(f);
        return f;
    }();
    return all;
}

}  // namespace ptx
