// EXIF in and out through libexif; only the one APP1 segment is handed to it, without the maker's own notes.
#include "data/exif.h"

#include <libexif/exif-data.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>

namespace {

constexpr uint8_t kApp1 = 0xe1;
constexpr std::string_view kPrefix("Exif\0\0", 6);
constexpr size_t kMaxText = 64;

struct Unref {
    void operator()(ExifData* data) const { exif_data_unref(data); }
};
using Data = std::unique_ptr<ExifData, Unref>;

// libexif has no name of its own for tag 0xa431 in every release.
constexpr auto kBodySerialNumber = ExifTag(0xa431);

std::string text_of(ExifData* data, ExifIfd ifd, ExifTag tag) {
    const ExifEntry* entry = exif_content_get_entry(data->ifd[ifd], tag);
    if (!entry || !entry->data || entry->format != EXIF_FORMAT_ASCII) return {};
    std::string text;
    for (size_t i = 0; i < entry->size && i < kMaxText && entry->data[i]; ++i)
        text += entry->data[i] < 32 || entry->data[i] == 127 ? '?' : char(entry->data[i]);
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
}

void add_entry(ExifData* data, ExifIfd ifd, ExifTag tag, ExifFormat format, size_t components, Bytes content) {
    ExifMem* memory = exif_mem_new_default();
    ExifEntry* entry = exif_entry_new_mem(memory);
    entry->data = static_cast<unsigned char*>(exif_mem_alloc(memory, ExifLong(content.size())));
    std::memcpy(entry->data, content.data(), content.size());
    entry->size = unsigned(content.size());
    entry->tag = tag;
    entry->format = format;
    entry->components = components;
    exif_content_add_entry(data->ifd[ifd], entry);
    exif_entry_unref(entry);
    exif_mem_unref(memory);
}

void add_text(ExifData* data, ExifIfd ifd, ExifTag tag, const std::string& text) {
    if (text.empty()) return;
    const Bytes content(reinterpret_cast<const uint8_t*>(text.c_str()), text.size() + 1);
    add_entry(data, ifd, tag, EXIF_FORMAT_ASCII, content.size(), content);
}

}  // namespace

Exif read_exif(Bytes jpeg) {
    Exif exif;
    const Bytes segment = find_segment(jpeg, kApp1, kPrefix);
    if (segment.empty()) return exif;
    const Data data(exif_data_new());
    if (!data) return exif;
    exif_data_unset_option(data.get(), EXIF_DATA_OPTION_FOLLOW_SPECIFICATION);
    exif_data_set_option(data.get(), EXIF_DATA_OPTION_IGNORE_UNKNOWN_TAGS);
    exif_data_set_option(data.get(), EXIF_DATA_OPTION_DONT_CHANGE_MAKER_NOTE);
    exif_data_load_data(data.get(), segment.data(), unsigned(segment.size()));
    exif.date = text_of(data.get(), EXIF_IFD_EXIF, EXIF_TAG_DATE_TIME_ORIGINAL);
    exif.make = text_of(data.get(), EXIF_IFD_0, EXIF_TAG_MAKE);
    exif.model = text_of(data.get(), EXIF_IFD_0, EXIF_TAG_MODEL);
    exif.serial = text_of(data.get(), EXIF_IFD_EXIF, kBodySerialNumber);
    const ExifEntry* entry = exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
    if (entry && entry->data && entry->format == EXIF_FORMAT_SHORT && entry->size >= 2) {
        const int value = exif_get_short(entry->data, exif_data_get_byte_order(data.get()));
        if (value >= 1 && value <= 8) exif.orientation = value;
    }
    return exif;
}

int64_t exif_seconds(const std::string& date) {
    int year, month, day, hour, minute, second;
    if (std::sscanf(date.c_str(), "%4d:%2d:%2d %2d:%2d:%2d", &year, &month, &day, &hour, &minute, &second) != 6)
        return -1;
    using namespace std::chrono;
    const year_month_day when{std::chrono::year(year), std::chrono::month(unsigned(month)),
                              std::chrono::day(unsigned(day))};
    if (!when.ok() || year < 1970 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
        return -1;
    return int64_t(sys_days(when).time_since_epoch().count()) * 86400 + hour * 3600 + minute * 60 + second;
}

std::vector<uint8_t> exif_segment(const Exif& exif) {
    const Data data(exif_data_new());
    if (!data) throw std::bad_alloc();
    exif_data_set_byte_order(data.get(), EXIF_BYTE_ORDER_INTEL);
    exif_data_unset_option(data.get(), EXIF_DATA_OPTION_FOLLOW_SPECIFICATION);
    add_text(data.get(), EXIF_IFD_0, EXIF_TAG_MAKE, exif.make);
    add_text(data.get(), EXIF_IFD_0, EXIF_TAG_MODEL, exif.model);
    const uint8_t orientation[2] = {uint8_t(exif.orientation), 0};
    add_entry(data.get(), EXIF_IFD_0, EXIF_TAG_ORIENTATION, EXIF_FORMAT_SHORT, 1, orientation);
    add_text(data.get(), EXIF_IFD_EXIF, EXIF_TAG_DATE_TIME_ORIGINAL, exif.date);
    add_text(data.get(), EXIF_IFD_EXIF, kBodySerialNumber, exif.serial);
    unsigned char* bytes = nullptr;
    unsigned size = 0;
    exif_data_save_data(data.get(), &bytes, &size);
    const std::unique_ptr<unsigned char, decltype(&free)> owner(bytes, &free);
    if (!bytes) throw std::bad_alloc();
    return {bytes, bytes + size};
}
