// XXH3, 64 bits: detects damage and changes, but not malice. https://xxhash.com
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

class Hash {
public:
    Hash();
    ~Hash();
    Hash(const Hash&) = delete;
    Hash& operator=(const Hash&) = delete;

    void add(std::span<const std::byte> bytes);
    void add(std::string_view text);  // with its length, so that "ab" "c" is not "a" "bc"
    void add(uint64_t value);
    uint64_t value() const;
    std::string hex() const;  // 16 digits

private:
    struct State;
    std::unique_ptr<State> state_;
};

std::string hash_hex(std::string_view text);
