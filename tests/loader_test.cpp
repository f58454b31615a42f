// Batches do not depend on threads, cache or where they were started; bad files are left out, counted and named.
#include "data/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <set>

#include "tests/images.h"

namespace {

struct LoaderFolder {
    TemporaryFolder folder;
    Dataset data;
    std::vector<uint32_t> all;

    explicit LoaderFolder(bool with_bad = true) {
        for (unsigned i = 0; i < 21; ++i)
            folder.write((i % 2 ? "data/fox/" : "data/hare/") + std::to_string(i) + ".jpg",
                         jpeg_of(sample_image(20 + i, 30, i)));
        if (with_bad) {
            folder.write("data/fox/broken.jpg", text_content("no image"));
            folder.write("data/hare/empty.jpg", {});
            FileContent cut = jpeg_of(sample_image(40, 40));
            cut.resize(cut.size() * 4 / 5);
            folder.write("data/hare/truncated.jpg", cut);
        }
        data = open_dataset((folder.path / "data").string());
        for (uint32_t i = 0; i < data.samples.size(); ++i) all.push_back(i);
    }
};

LoaderOptions options_with(int threads) {
    return {.batch = 5,
            .fit = {.size = 16},
            .augment = {.flip = 0.5, .rotate = 5, .shift = 0.05, .crop = 0.8, .contrast = 0.2},
            .seed = 11,
            .shuffle = true,
            .threads = threads,
            .ahead = 2};
}

bool operator==(const Batch& a, const Batch& b) {
    return a.epoch == b.epoch && a.step == b.step && a.images == b.images && a.transform == b.transform &&
           a.color == b.color && a.labels == b.labels && a.samples == b.samples;
}

std::vector<Batch> take(Loader& loader, size_t count) {
    std::vector<Batch> batches;
    for (size_t i = 0; i < count; ++i) batches.push_back(loader.next());
    return batches;
}

}  // namespace

TEST(Loader, same_batches_for_any_threads_and_cache) {
    const LoaderFolder set;
    std::optional<std::vector<Batch>> expected;
    for (const CacheMode mode :
         {CacheMode::off, CacheMode::memory, CacheMode::disk, CacheMode::disk})  // the second finds the first's
        for (const int threads : {1, 2, 4}) {
            Cache cache(set.data, {.size = 16}, mode, (set.folder.path / "cache").string());
            Loader loader(set.data, set.all, options_with(threads), &cache);
            ASSERT_EQ(loader.steps(), 5u);
            const std::vector<Batch> batches = take(loader, 15);
            if (!expected) expected = batches;
            for (size_t i = 0; i < batches.size(); ++i)
                ASSERT_TRUE(batches[i] == (*expected)[i]) << threads << " threads, batch " << i;
        }
    EXPECT_EQ(expected->at(7).epoch, 1u);
    EXPECT_EQ(expected->at(7).step, 2u);
    EXPECT_FALSE(expected->at(0).samples == expected->at(5).samples) << "the same order in two epochs";
}

TEST(Loader, starts_anywhere) {
    const LoaderFolder set;
    Loader whole(set.data, set.all, options_with(2));
    const std::vector<Batch> batches = take(whole, 14);
    Loader later(set.data, set.all, options_with(3));
    for (const size_t from : {0u, 3u, 5u, 9u}) {
        later.start(from / 5, from % 5);
        for (size_t i = from; i < from + 5; ++i)
            ASSERT_TRUE(later.next() == batches[i]) << "from " << from << ", batch " << i;
    }
}

TEST(Loader, every_sample_once_an_epoch) {
    const LoaderFolder set(false);
    Loader loader(set.data, set.all, options_with(2));
    std::multiset<int64_t> seen;
    for (const Batch& batch : take(loader, loader.steps()))
        for (size_t row = 0; row < 5; ++row) {
            if (batch.samples[row] < 0) {
                EXPECT_EQ(batch.labels[row], -1);
                continue;
            }
            seen.insert(batch.samples[row]);
            EXPECT_EQ(batch.labels[row], int32_t(set.data.samples[size_t(batch.samples[row])].label));
        }
    EXPECT_EQ(seen, (std::multiset<int64_t>(set.all.begin(), set.all.end())));
    EXPECT_TRUE(loader.bad_files().empty());

    LoaderOptions dropping = options_with(1);
    dropping.drop_last = true;
    Loader short_one(set.data, set.all, dropping);
    EXPECT_EQ(short_one.steps(), 4u);
    for (const Batch& batch : take(short_one, 8))
        EXPECT_EQ(std::count(batch.labels.begin(), batch.labels.end(), -1), 0);
    dropping.batch = 64;
    EXPECT_EQ(Loader(set.data, set.all, dropping).steps(), 1u) << "the only batch is kept";
}

TEST(Loader, bad_files_are_named_once) {
    const LoaderFolder set;
    Loader loader(set.data, set.all, options_with(2));
    size_t left_out = 0;
    for (const Batch& batch : take(loader, 2 * loader.steps()))
        for (size_t row = 0; row < 5; ++row) {
            left_out += batch.samples[row] >= 0 && batch.labels[row] < 0;
            bool repeated = false;  // a row that does not count repeats a row that does
            for (size_t other = 0; other < 5 && batch.labels[row] < 0; ++other)
                repeated = repeated || (batch.labels[other] >= 0 &&
                                        std::equal(&batch.images[row * 768], &batch.images[row * 768] + 768,
                                                   &batch.images[other * 768]));
            EXPECT_TRUE(batch.labels[row] >= 0 || repeated);
        }
    EXPECT_EQ(left_out, 6u);
    const std::vector<FailedImage> bad = loader.bad_files();
    ASSERT_EQ(bad.size(), 3u);
    EXPECT_TRUE(bad[0].path.ends_with("fox/broken.jpg"));
    EXPECT_EQ(bad[0].code, "not_a_picture");
    EXPECT_FALSE(bad[0].used);
    EXPECT_EQ(bad[1].code, "empty_file");
    EXPECT_EQ(bad[2].code, "truncated");

    LoaderOptions lenient = options_with(2);
    lenient.accept_damaged = true;
    Loader taking(set.data, set.all, lenient);
    left_out = 0;
    for (const Batch& batch : take(taking, taking.steps()))
        for (size_t row = 0; row < 5; ++row) left_out += batch.samples[row] >= 0 && batch.labels[row] < 0;
    EXPECT_EQ(left_out, 2u);
    ASSERT_EQ(taking.bad_files().size(), 3u);
    EXPECT_TRUE(taking.bad_files()[2].used);
}

TEST(Loader, nothing_but_bad_files) {
    TemporaryFolder folder;
    for (const char* name : {"a/1.jpg", "b/2.jpg"}) folder.write(name, jpeg_of(sample_image(8, 8)));
    const Dataset data = open_dataset(folder.path.string());
    for (const char* name : {"a/1.jpg", "b/2.jpg"}) folder.write(name, {1, 2, 3});  // went bad since then
    Loader loader(data, {0, 1}, options_with(2));
    for (const Batch& batch : take(loader, 3)) EXPECT_EQ(std::count(batch.labels.begin(), batch.labels.end(), -1), 5);
}

TEST(Loader, second_epoch_decodes_nothing) {
    const LoaderFolder set(false);
    Cache cache(set.data, {.size = 16}, CacheMode::memory, "");
    LoaderOptions options = options_with(2);
    options.shuffle = false;
    options.augment = {};
    Loader loader(set.data, set.all, options, &cache);
    const std::vector<Batch> first = take(loader, loader.steps());
    EXPECT_GT(loader.counts().waited_seconds, 0);
    EXPECT_GT(loader.counts().decoding_seconds, 0);
    const std::vector<Batch> second = take(loader, loader.steps());
    for (size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i].images, second[i].images);
    take(loader, loader.steps());
    // The first epoch's last rows may be in the making when the second asks for its first: each sample is decoded at
    // least once, and the third epoch from the cache alone.
    const LoaderCounts counts = loader.counts();
    EXPECT_GE(counts.decoded, 21u);
    EXPECT_LE(counts.decoded, 21u + 2u);
    EXPECT_GE(counts.from_cache, 2 * 21u - 2u);
}

TEST(Loader, stops_in_the_middle) {
    const LoaderFolder set;
    for (int i = 0; i < 20; ++i) {
        Loader loader(set.data, set.all, options_with(4));
        if (i % 2) (void)loader.next();
    }
}
