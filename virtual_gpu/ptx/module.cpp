// A whole PTX file: what stands between its kernels, and the names of things for messages.
#include "module.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>

#include "decoder.h"
#include "scanner.h"

namespace ptx {

using std::string_view;

namespace {

std::string without_comments(std::string text) {
    bool comment = false;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\n') comment = false;
        if (text[i] == '/' && i + 1 < text.size() && text[i + 1] == '/') comment = true;
        if (comment) text[i] = ' ';
    }
    return text;
}

size_t matching_brace(string_view text, size_t open) {
    int depth = 0;
    for (size_t i = open; i < text.size(); ++i) {
        depth += text[i] == '{';
        depth -= text[i] == '}';
        if (depth == 0) return i;
    }
    throw Error("a kernel's text has no end");
}

}  // namespace

std::unique_ptr<Module> parse(std::string text) {
    auto module = std::make_unique<Module>();
    module->text = without_comments(std::move(text));
    const string_view all = module->text;
    for (size_t begin = 0; begin < all.size();) {
        const size_t end = std::min(all.find('\n', begin), all.size());
        module->lines.push_back(all.substr(begin, end - begin));
        begin = end + 1;
    }
    Variables module_shared;
    const auto outside = [&](string_view part) {  // between the kernels: one directive per line
        for (size_t begin = 0; begin < part.size();) {
            const size_t end = std::min(part.find('\n', begin), part.size());
            const string_view l = trimmed(part.substr(begin, end - begin));
            begin = end + 1;
            if (l.starts_with(".target ")) module->target = trimmed(l.substr(8));
            for (const string_view directive : {".func", ".global", ".const"})
                if (l.find(directive) != l.npos)
                    throw Error(std::string(directive) + " is not known: " + std::string(l));
            if (const size_t shared = l.find(".shared"); shared != l.npos) {
                const auto [name, variable] = declared(l.substr(shared + 7, l.find(';') - shared - 7));
                module_shared[name] = variable;
            }
        }
    };
    for (const string_view l : module->lines)  // .file NUMBER "NAME"
        if (const string_view t = trimmed(l); t.starts_with(".file")) {
            const size_t number = number_in(trimmed(t.substr(5))), open = t.find('"'), close = t.find('"', open + 1);
            module->files.resize(std::max(module->files.size(), number + 1));
            module->files[number] = t.substr(open + 1, close - open - 1);
        }
    uint32_t line = 1;
    const auto lines_in = [](string_view part) { return uint32_t(std::count(part.begin(), part.end(), '\n')); };
    for (size_t at = 0;;) {
        const size_t entry = all.find(".entry", at);
        string_view between = all.substr(at, entry == all.npos ? entry : entry - at);
        if (entry == all.npos)  // debugging information follows
            between = between.substr(0, std::min(between.find(".section"), between.find(".file")));
        outside(between);
        if (entry == all.npos) break;
        line += lines_in(all.substr(at, entry - at));
        const size_t open = all.find('(', entry), close = all.find(')', open), body = all.find('{', close);
        auto kernel = std::make_unique<Kernel>();
        kernel->name = trimmed(all.substr(entry + 6, open - entry - 6));
        kernel->module = module.get();
        const size_t end = matching_brace(all, body);
        decode(*kernel, all.substr(open + 1, close - open - 1), all.substr(body + 1, end - body - 1),
               line + lines_in(all.substr(entry, body + 1 - entry)), module_shared);
        module->kernels.push_back(std::move(kernel));
        line += lines_in(all.substr(entry, end + 1 - entry));
        at = end + 1;
    }
    return module;
}

string_view Module::statement(const Instruction& i) const { return trimmed(lines.at(i.line - 1)); }

std::string Module::source(const Instruction& i) const {
    if (i.file >= files.size() || files[i.file].empty()) return "";
    return files[i.file] + ":" + std::to_string(i.file_line);
}

std::string readable(const std::string& mangled) {
    int status = 0;
    char* const text = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
    std::string result = text ? text : mangled;
    std::free(text);
    for (const string_view unnamed : {"(anonymous namespace)::", "_GLOBAL__N_"})
        for (size_t at; (at = result.find(unnamed)) != result.npos;) result.erase(at, result.find("::", at) + 2 - at);
    if (result.starts_with("void ")) result.erase(0, 5);
    int depth = 0;  // without the arguments
    for (size_t i = 0; i < result.size(); ++i) {
        depth += result[i] == '<';
        depth -= result[i] == '>';
        if (result[i] == '(' && depth == 0) return result.substr(0, i);
    }
    return result;
}

}  // namespace ptx
