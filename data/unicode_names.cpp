#include "data/unicode_names.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

#ifdef TUNDRA_UTF8PROC
#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#endif

namespace {

namespace fs = std::filesystem;

#ifdef TUNDRA_UTF8PROC
std::string composed(const std::string& name) {
    const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> text(
        utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(name.c_str())), &std::free);
    return text ? reinterpret_cast<const char*>(text.get()) : name;  // no text: not UTF-8
}
#else
const std::string& composed(const std::string& name) { return name; }
#endif

}  // namespace

std::string seen_by_people(const std::string& text) {
#ifdef TUNDRA_UTF8PROC
    const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> folded(
        utf8proc_NFKC_Casefold(reinterpret_cast<const utf8proc_uint8_t*>(text.c_str())), &std::free);
    if (folded) return reinterpret_cast<const char*>(folded.get());
#endif
    return lower(text);
}

std::optional<fs::path> UnicodeNames::find(const fs::path& path) {
    if (std::ranges::all_of(path.string(), [](char c) { return uint8_t(c) < 0x80; })) return {};  // has one form only
    fs::path found;
    for (const fs::path& part : path) {
        std::error_code error;
        if (fs::exists(found / part, error)) {
            found /= part;
            continue;
        }
        const auto [folder, is_new] = folders_.try_emplace(found.string());
        if (is_new)
            for (fs::directory_iterator entry(found.empty() ? "." : found, error), end; !error && entry != end;
                 entry.increment(error)) {
                const std::string name = entry->path().filename().string();
                folder->second[composed(name)].push_back(name);
            }
        const auto same = folder->second.find(composed(part.string()));
        if (same == folder->second.end() || same->second.size() != 1) return {};
        found /= same->second[0];
    }
    return found;
}

std::string UnicodeNames::on_disk(const fs::path& root, const std::string& name) {
    std::error_code ignored;
    const std::optional<fs::path> found = fs::exists(root / name, ignored) ? std::nullopt : find(root / name);
    if (!found) return name;
    if (changed_++ == 0) first_ = name;
    return fs::path(name).is_absolute() || root.empty() ? found->generic_string()
                                                        : found->lexically_relative(root).generic_string();
}

std::vector<std::string> UnicodeNames::notes() const {
    if (!changed_) return {};
    return {fmt::format("{} names were found in another Unicode form, NFC or NFD (first: {})", changed_, first_)};
}
