// The page of a review as one HTML file, with small copies of the images inside: it works from a USB stick, without
// tundra and without a network, and hands the answers back as corrections.csv.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>

#include "app/review/folder.h"
#include "app/review/session.h"

struct StaticPage {
    size_t images = 0, of = 0, unreadable = 0;  // in the page; to look at
};

// The images that are to be looked at and were not yet, at most `most` of them, the least certain first.
StaticPage write_static_page(const std::filesystem::path& file, const SurveyFolder& survey,
                             const ReviewSession& session, size_t most,
                             const std::function<void(size_t, size_t)>& progress);
