// Finds files whose names mean the same in another form of Unicode: macOS stores "é" as two characters (NFD), most
// other programs write one (NFC), and Linux takes the two for different names. Through utf8proc; nothing is found where
// the build lacks it. Source: Unicode Standard Annex 15.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

// The same for texts that people take for one: in one form, in lower case, without characters that nobody sees.
std::string seen_by_people(const std::string& text);

class UnicodeNames {
public:
    // The one existing path that differs from this one, which does not exist, only in its form; nothing if there is
    // none, or several.
    std::optional<std::filesystem::path> find(const std::filesystem::path& path);
    // `name`, relative to `root` or absolute, as it is on disk; as it was given where find() finds nothing.
    std::string on_disk(const std::filesystem::path& root, const std::string& name);
    // For people: how many names on_disk() changed, and the first; empty if none.
    std::vector<std::string> notes() const;

private:
    size_t changed_ = 0;
    std::string first_;
    std::map<std::string, std::map<std::string, std::vector<std::string>>> folders_;  // names by their NFC
};
