// The cache gives back what it was given or nothing: over runs, after damage, for two owners at once.
#include "data/cache.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/images.h"

namespace {

struct CacheFolder {
    TemporaryFolder folder;
    Dataset data;

    CacheFolder() {
        for (const char* name : {"a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg", "b/5.jpg"})
            folder.write(std::string("data/") + name, jpeg_of(sample_image(8, 8)));
        data = open_dataset((folder.path / "data").string());
    }
    std::string disk() const { return (folder.path / "cache").string(); }
};

constexpr Fit kFit{.size = 6};
constexpr size_t kBytes = 6 * 6 * 3;

FileContent pixels(uint8_t seed) {
    FileContent rgb(kBytes);
    for (size_t i = 0; i < kBytes; ++i) rgb[i] = uint8_t(seed * 31 + i);
    return rgb;
}

bool holds(Cache& cache, uint32_t sample, const FileContent& want) {
    FileContent rgb(kBytes);
    return cache.get(sample, rgb.data()) && rgb == want;
}

bool is_empty(Cache& cache, uint32_t sample) {
    FileContent rgb(kBytes);
    return !cache.get(sample, rgb.data());
}

}  // namespace

TEST(Cache, gives_back) {
    const CacheFolder set;
    for (const CacheMode mode : {CacheMode::memory, CacheMode::disk}) {
        Cache cache(set.data, kFit, mode, set.disk());
        EXPECT_EQ(cache.mode(), mode);
        EXPECT_TRUE(is_empty(cache, 0));
        for (uint32_t i : {0u, 4u}) cache.put(i, pixels(uint8_t(i)).data());
        EXPECT_TRUE(holds(cache, 0, pixels(0)));
        EXPECT_TRUE(holds(cache, 4, pixels(4)));
        EXPECT_TRUE(is_empty(cache, 3));
        EXPECT_EQ(cache.problem(), "");
    }
    Cache off(set.data, kFit, CacheMode::off, "");
    off.put(0, pixels(0).data());
    EXPECT_TRUE(is_empty(off, 0));
}

TEST(Cache, disk_survives_runs_and_knows_its_fit) {
    const CacheFolder set;
    { Cache(set.data, kFit, CacheMode::disk, set.disk()).put(2, pixels(9).data()); }
    Cache again(set.data, kFit, CacheMode::disk, set.disk());
    EXPECT_TRUE(holds(again, 2, pixels(9)));
    Fit other = kFit;
    other.filter = Filter::nearest;
    Cache nearest(set.data, other, CacheMode::disk, set.disk());
    EXPECT_TRUE(is_empty(nearest, 2));
    EXPECT_NE(nearest.file(), again.file());
}

TEST(Cache, changed_images_are_decoded_again) {
    const CacheFolder set;
    Cache cache(set.data, kFit, CacheMode::disk, set.disk());
    for (uint32_t i : {0u, 1u}) cache.put(i, pixels(1).data());
    namespace fs = std::filesystem;
    const fs::path file = set.data.path(set.data.samples[0]);
    fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(2));
    EXPECT_TRUE(is_empty(cache, 0));
    EXPECT_TRUE(holds(cache, 1, pixels(1)));
    fs::remove(set.data.path(set.data.samples[1]));
    EXPECT_TRUE(is_empty(cache, 1));
}

TEST(Cache, damage_anywhere_is_seen) {
    const CacheFolder set;
    std::string file;
    {
        Cache cache(set.data, kFit, CacheMode::disk, set.disk());
        for (uint32_t i = 0; i < 5; ++i) cache.put(i, pixels(uint8_t(i)).data());
        file = cache.file();
    }
    std::ifstream in(file, std::ios::binary);
    const FileContent sound{std::istreambuf_iterator<char>(in), {}};
    in.close();
    const size_t slot = 24 + kBytes;
    ASSERT_EQ(sound.size(), 64 + 5 * slot);
    auto rewritten = [&](const FileContent& content) {
        std::ofstream(file, std::ios::binary | std::ios::trunc)
            .write(reinterpret_cast<const char*>(content.data()), std::streamsize(content.size()));
        return std::make_unique<Cache>(set.data, kFit, CacheMode::disk, set.disk());
    };
    for (size_t at = 64 + slot; at < 64 + 2 * slot; ++at) {  // every byte of slot 1
        FileContent damaged = sound;
        damaged[at] ^= 1;
        const auto cache = rewritten(damaged);
        ASSERT_TRUE(is_empty(*cache, 1)) << "byte " << at;
        ASSERT_TRUE(holds(*cache, 0, pixels(0)));
        ASSERT_TRUE(holds(*cache, 2, pixels(2)));
    }
    for (const size_t size : {size_t(0), size_t(10), size_t(64), sound.size() - 1}) {  // cut: started over
        const auto cache = rewritten(FileContent(sound.begin(), sound.begin() + long(size)));
        ASSERT_TRUE(is_empty(*cache, 0));
        cache->put(0, pixels(7).data());
        ASSERT_TRUE(holds(*cache, 0, pixels(7)));
    }
    FileContent foreign = sound;
    foreign[3] = 'x';
    EXPECT_TRUE(is_empty(*rewritten(foreign), 0));
}

TEST(Cache, two_owners) {
    const CacheFolder set;
    Cache one(set.data, kFit, CacheMode::disk, set.disk()), two(set.data, kFit, CacheMode::disk, set.disk());
    one.put(0, pixels(1).data());
    two.put(1, pixels(2).data());
    EXPECT_TRUE(holds(two, 0, pixels(1)));
    EXPECT_TRUE(holds(one, 1, pixels(2)));
}

TEST(Cache, automatic_and_errors) {
    const CacheFolder set;
    Cache small(set.data, kFit, CacheMode::automatic, "");
    EXPECT_EQ(small.mode(), CacheMode::memory);
    EXPECT_NE(small.choice().find("memory"), std::string::npos);
    EXPECT_GT(available_memory_bytes(), 0u);
    const Fit huge{.size = 2'000'000};  // 60 TB: neither memory nor disk
    EXPECT_EQ(Cache(set.data, huge, CacheMode::automatic, set.disk()).mode(), CacheMode::off);
    try {
        Cache(set.data, huge, CacheMode::disk, set.disk());
        FAIL() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.fault, Fault::environment);
        EXPECT_NE(std::string(error.what()).find("--cache"), std::string::npos);
    }
    EXPECT_THROW(Cache(set.data, kFit, CacheMode::disk, "/proc/nowhere"), Error);
}
