#include "base/hash.h"

#include <fmt/format.h>

#define XXH_STATIC_LINKING_ONLY  // the state by value
#include <xxhash.h>

struct Hash::State {
    XXH3_state_t xxh3;
};

Hash::Hash() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->xxh3); }
Hash::~Hash() = default;

void Hash::add(std::span<const std::byte> bytes) { XXH3_64bits_update(&state_->xxh3, bytes.data(), bytes.size()); }

void Hash::add(std::string_view text) {
    add(uint64_t(text.size()));
    add(std::as_bytes(std::span(text)));
}

void Hash::add(uint64_t value) { XXH3_64bits_update(&state_->xxh3, &value, sizeof value); }

uint64_t Hash::value() const { return XXH3_64bits_digest(&state_->xxh3); }
std::string Hash::hex() const { return fmt::format("{:016x}", value()); }

std::string hash_hex(std::string_view text) {
    Hash hash;
    hash.add(text);
    return hash.hex();
}
