#include "models/files/zip_file.h"

#include <zip.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace {

constexpr size_t kRecordLimit = 100'000, kFreeBytes = size_t(64) << 20, kRatio = 16;
constexpr uint32_t kEnd = 0x06054b50, kEnd64 = 0x06064b50, kLocator64 = 0x07064b50, kCentral = 0x02014b50,
                   kLocal = 0x04034b50;

template <class... Parts>
[[noreturn]] void damaged(const std::string& label, fmt::format_string<Parts...> text, Parts&&... parts) {
    fail(Fault::damaged, "{}: damaged zip archive: {}; copy or download it again", label,
         fmt::format(text, std::forward<Parts>(parts)...));
}

// Little-endian numbers at any offset; outside the file: Fault::damaged.
struct Numbers {
    std::span<const std::byte> bytes;
    const std::string& label;

    template <class T>
    T at(size_t offset) const {
        T value;
        if (offset > bytes.size() || bytes.size() - offset < sizeof value)
            damaged(label, "its directory points to byte {} of {}", offset, bytes.size());
        std::memcpy(&value, bytes.data() + offset, sizeof value);
        return value;
    }
};

// The 64-bit form of a local header's offset, in the extra field with id 1, after the sizes if they have 64 bits.
size_t wide_offset(const Numbers& read, size_t header, size_t name_bytes, size_t extra_bytes) {
    size_t position = header + 46 + name_bytes;
    for (const size_t end = position + extra_bytes; position + 4 <= end;) {
        const size_t id = read.at<uint16_t>(position), length = read.at<uint16_t>(position + 2);
        if (id == 1) {
            const size_t skipped =
                8 * ((read.at<uint32_t>(header + 24) == 0xffffffff) + (read.at<uint32_t>(header + 20) == 0xffffffff));
            if (skipped + 8 <= length) return read.at<uint64_t>(position + 4 + skipped);
        }
        position += 4 + length;
    }
    damaged(read.label, "a 64-bit offset is missing");
}

}  // namespace

ZipFile::ZipFile(std::span<const std::byte> bytes, std::string label) : label_(std::move(label)) {
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
    if (source) archive_ = zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error);
    if (!archive_) {
        const bool twice = zip_error_code_zip(&error) == ZIP_ER_EXISTS;
        const std::string reason = twice ? "two records have the same name" : zip_error_strerror(&error);
        if (source) zip_source_free(source);
        zip_error_fini(&error);
        damaged(label_, "{}", reason);
    }
    zip_error_fini(&error);
    try {
        const size_t count = size_t(zip_get_num_entries(archive_, 0));
        if (count > kRecordLimit) damaged(label_, "{} records, the limit is {}", count, kRecordLimit);
        size_t total = 0;
        for (size_t i = 0; i < count; ++i) {
            zip_stat_t info;
            constexpr zip_uint64_t needed =
                ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
            if (zip_stat_index(archive_, i, ZIP_FL_ENC_RAW, &info) != 0 || (info.valid & needed) != needed)
                damaged(label_, "record {} has no complete entry in the directory", i);
            const std::string name = info.name;
            if (info.encryption_method != ZIP_EM_NONE) damaged(label_, "record '{}' is encrypted", name);
            if (info.comp_method != ZIP_CM_STORE && info.comp_method != ZIP_CM_DEFLATE)
                damaged(label_, "record '{}' has compression method {}", name, info.comp_method);
            if (info.comp_method == ZIP_CM_STORE && info.size != info.comp_size)
                damaged(label_, "record '{}' is stored, with sizes {} and {}", name, info.size, info.comp_size);
            if (info.size > kFreeBytes + kRatio * bytes.size() - total)
                damaged(label_, "its records claim more than {} times its size", kRatio);
            total += info.size;
            names_.push_back(name);
            sizes_.push_back(info.size);
            if (!index_.emplace(name, i).second) damaged(label_, "two records are called '{}'", name);
        }
        check_layout(bytes);
    } catch (...) {
        zip_discard(archive_);
        throw;
    }
}

ZipFile::~ZipFile() { zip_discard(archive_); }

// libzip does not check whether records overlap.
void ZipFile::check_layout(std::span<const std::byte> bytes) const {
    const Numbers read{bytes, label_};
    int comment_bytes = 0;
    zip_get_archive_comment(archive_, &comment_bytes, ZIP_FL_ENC_RAW);
    if (bytes.size() < 22 + size_t(comment_bytes)) damaged(label_, "no end of directory");
    const size_t end = bytes.size() - 22 - size_t(comment_bytes);
    if (read.at<uint32_t>(end) != kEnd) damaged(label_, "no end of directory before the comment");
    size_t directory = read.at<uint32_t>(end + 16), count = read.at<uint16_t>(end + 10);
    if (end >= 20 && read.at<uint32_t>(end - 20) == kLocator64) {
        const size_t wide = read.at<uint64_t>(end - 12);
        if (read.at<uint32_t>(wide) != kEnd64) damaged(label_, "the 64-bit end of directory is not where it should be");
        if (directory == 0xffffffff) directory = read.at<uint64_t>(wide + 48);
        if (count == 0xffff) count = read.at<uint64_t>(wide + 32);
    }
    if (count != names_.size()) damaged(label_, "the directory counts {} records and holds {}", count, names_.size());

    struct Range {
        size_t begin, end, record;
    };
    std::vector<Range> ranges;
    size_t header = directory;
    for (size_t i = 0; i < count; ++i) {
        if (read.at<uint32_t>(header) != kCentral) damaged(label_, "entry {} of the directory has no signature", i);
        const size_t name_bytes = read.at<uint16_t>(header + 28), extra_bytes = read.at<uint16_t>(header + 30);
        size_t stored_bytes = 0, local = read.at<uint32_t>(header + 42);
        if (local == 0xffffffff) local = wide_offset(read, header, name_bytes, extra_bytes);
        if (read.at<uint32_t>(local) != kLocal) damaged(label_, "record '{}' has no local header", names_[i]);
        if (read.at<uint16_t>(local + 8) != read.at<uint16_t>(header + 10) ||
            read.at<uint16_t>(local + 26) != name_bytes)
            damaged(label_, "record '{}' has a local header that disagrees with the directory", names_[i]);
        zip_stat_t info;
        if (zip_stat_index(archive_, i, ZIP_FL_ENC_RAW, &info) == 0) stored_bytes = info.comp_size;
        const size_t data = local + 30 + name_bytes + read.at<uint16_t>(local + 28);
        if (data > directory || stored_bytes > directory - data)
            damaged(label_, "record '{}' reaches into the directory", names_[i]);
        ranges.push_back({local, data + stored_bytes, i});
        header += 46 + name_bytes + extra_bytes + read.at<uint16_t>(header + 32);
    }
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
    for (size_t i = 1; i < ranges.size(); ++i)
        if (ranges[i].begin < ranges[i - 1].end)
            damaged(label_, "the records '{}' and '{}' overlap", names_[ranges[i - 1].record],
                    names_[ranges[i].record]);
}

size_t ZipFile::index_of(const std::string& name) const {
    const auto found = index_.find(name);
    if (found == index_.end()) damaged(label_, "record '{}' is missing", name);
    return found->second;
}

size_t ZipFile::size_of(const std::string& name) const { return sizes_[index_of(name)]; }

std::vector<std::byte> ZipFile::read(const std::string& name) const {
    const size_t index = index_of(name), size = sizes_[index];
    const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen_index(archive_, index, 0), zip_fclose);
    if (!file) damaged(label_, "record '{}': {}", name, zip_strerror(archive_));
    std::vector<std::byte> content(size);
    for (size_t done = 0; done < size;) {
        const zip_int64_t count = zip_fread(file.get(), content.data() + done, size - done);
        if (count <= 0) damaged(label_, "record '{}': {}", name, count ? zip_file_strerror(file.get()) : "too short");
        done += size_t(count);
    }
    // The checksum is compared when the end is reached.
    std::byte more;
    const zip_int64_t rest = zip_fread(file.get(), &more, 1);
    if (rest != 0) damaged(label_, "record '{}': {}", name, rest < 0 ? zip_file_strerror(file.get()) : "too long");
    return content;
}
