#include "app/review/static_page.h"

#include <algorithm>

#include "app/report/thumbnail.h"
#include "app/review/page.h"
#include "base/error.h"
#include "base/file.h"

namespace {

constexpr size_t kSide = 800;  // about 60 KB per image

}  // namespace

StaticPage write_static_page(const std::filesystem::path& file, const SurveyFolder& survey,
                             const ReviewSession& session, size_t most,
                             const std::function<void(size_t, size_t)>& progress) {
    std::vector<uint32_t> images = session.list({});
    StaticPage page{.images = std::min(most, images.size()), .of = images.size()};
    if (images.empty())
        fail(Fault::usage, "{}: nothing is left to look at; `tundra review` without --static shows all images",
             survey.folder.string());
    images.resize(page.images);
    nlohmann::json items = session.items(images).at("items"), pictures = nlohmann::json::array();
    for (const uint32_t i : images) {
        const Thumbnail picture = make_thumbnail(survey.path(i), kSide);
        page.unreadable += picture.data_url.empty();
        pictures.push_back(picture.data_url.empty() ? "!" + picture.trouble : picture.data_url);
        progress(pictures.size(), images.size());
    }
    const nlohmann::json data{
        {"about", session.about()}, {"items", std::move(items)}, {"pictures", std::move(pictures)}};
    const std::string html = review_page(survey.folder.filename().string(), "static", data);
    write_file_durably(file, [&](FileWriter& out) { out.write(html); });
    return page;
}
