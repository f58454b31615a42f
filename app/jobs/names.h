// Names of images: as JSON can hold them, and hundreds of thousands of them in little memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Bytes of the UTF-8 character that starts `text`, and which one it is; 0 bytes if it is none.
size_t utf8_character(std::string_view text, uint32_t& code);

// UTF-8 as it is; a byte that is none becomes %FF, so that different names stay different.
std::string json_name(std::string_view name);

// In the order of their JSON names, each once. 8 bytes a name beside its own.
class Names {
public:
    Names() = default;
    explicit Names(
        std::vector<std::string> names);  // sorts, drops doubles; Fault::usage if two have the same JSON name

    size_t size() const { return ends_.size(); }
    std::string_view operator[](size_t i) const {
        const uint64_t start = i ? ends_[i - 1] : 0;
        return std::string_view(text_).substr(start, ends_[i] - start);
    }
    size_t find(std::string_view json_name) const;  // size() where there is none
    template <class Keep>
    Names filtered(const Keep& keep) const {  // those i with keep(i)
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
