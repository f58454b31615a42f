// Zip archives for tests of the reader: right ones, and ones that lie in a chosen place. Everything is stored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

inline uint32_t crc32_of(const std::string& text) {
    uint32_t crc = ~0u;
    for (const unsigned char c : text) {
        crc ^= c;
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

template <class T>
std::string raw(T value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

struct ZipRecord {
    std::string name, content;
    uint16_t method = 0, flags = 0;
    std::string local_name{};        // where it differs
    std::optional<uint32_t> crc{};   // where it is wrong
    std::optional<uint32_t> size{};  // of the directory, where it lies
    std::optional<size_t> same_place_as{};
};

inline std::string zip_of(const std::vector<ZipRecord>& records) {
    std::string file, directory;
    std::vector<uint32_t> places;
    for (const ZipRecord& r : records) {
        const bool encrypted = r.flags & 1;  // such a record begins with 12 bytes of its own; libzip 1.11 checks that
        const uint32_t stored = uint32_t(r.content.size()), size = r.size.value_or(stored - 12 * encrypted);
        const std::string common = raw(uint16_t(20)) + raw(r.flags) + raw(r.method) + raw(uint32_t(0)) +
                                   raw(r.crc.value_or(crc32_of(r.content))) +
                                   raw(r.method || encrypted ? stored : size) + raw(size);
        const std::string local_name = r.local_name.empty() ? r.name : r.local_name;
        places.push_back(r.same_place_as ? places[*r.same_place_as] : uint32_t(file.size()));
        if (!r.same_place_as)
            file += "PK\3\4" + common + raw(uint16_t(local_name.size())) + raw(uint16_t(0)) + local_name + r.content;
        directory += "PK\1\2" + raw(uint16_t(20)) + common + raw(uint16_t(r.name.size())) + std::string(12, '\0') +
                     raw(places.back()) + r.name;
    }
    const uint16_t count = uint16_t(records.size());
    return file + directory + "PK\5\6" + raw(uint32_t(0)) + raw(count) + raw(count) + raw(uint32_t(directory.size())) +
           raw(uint32_t(file.size())) + raw(uint16_t(0));
}
