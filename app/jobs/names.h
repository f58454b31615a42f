// Names of images: as JSON can hold them, and hundreds of thousands of them in little memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

// UTF-8 is unchanged; a byte that is not UTF-8 becomes %FF, so that different names stay different.
std::string json_name(std::string_view name);
// Back: "%FF" is the byte again where it cannot have been UTF-8; and which of both names a file of `folder` has.
std::string raw_name(const std::string& name);
std::string name_on_disk(const std::filesystem::path& folder, const std::string& name);

// Identifies a list of names in their order.
std::string list_hash(size_t count, const std::function<std::string(size_t)>& name);

// Sorted by JSON name, each once; takes 8 bytes per name besides its text.
class Names {
public:
    Names() = default;
    // Sorts and drops duplicates; Fault::usage if two different names have the same JSON name.
    explicit Names(std::vector<std::string> names);

    size_t size() const { return ends_.size(); }
    std::string_view operator[](size_t i) const {
        const uint64_t start = i ? ends_[i - 1] : 0;
        return std::string_view(text_).substr(start, ends_[i] - start);
    }
    size_t find(std::string_view json_name) const;  // size() if there is none
    template <class Keep>
    Names filtered(const Keep& keep) const {  // the names i with keep(i)
        Names result;
        for (size_t i = 0; i < size(); ++i)
            if (keep(i)) result.add((*this)[i]);
        result.fit();
        return result;
    }

private:
    void add(std::string_view name);
    void fit();

    std::string text_;
    std::vector<uint64_t> ends_;
};
