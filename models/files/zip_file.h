// Untrusted zip archives, read through libzip by the central directory alone, with everything checked first.
//
// Refused: local headers that disagree with the directory, records that overlap or share a name, encryption, methods
// other than stored and deflated, wrong CRC-32, wrong lengths. Limits: 100,000 records; all records together at most 64
// MiB + 16 times the archive. Record names are only compared, never used as paths.
// https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

struct zip;

class ZipFile {
public:
    // `bytes` must outlive the object; `label` is what errors (Fault::damaged) call the file.
    ZipFile(std::span<const std::byte> bytes, std::string label);
    ~ZipFile();
    ZipFile(const ZipFile&) = delete;
    ZipFile& operator=(const ZipFile&) = delete;

    const std::vector<std::string>& names() const { return names_; }
    bool contains(const std::string& name) const { return index_.contains(name); }
    size_t size_of(const std::string& name) const;  // uncompressed
    std::vector<std::byte> read(const std::string& name) const;

private:
    void check_layout(std::span<const std::byte> bytes) const;
    size_t index_of(const std::string& name) const;

    std::string label_;
    struct zip* archive_ = nullptr;
    std::vector<std::string> names_;
    std::vector<size_t> sizes_;
    std::unordered_map<std::string, size_t> index_;
};
