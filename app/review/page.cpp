#include "app/review/page.h"

#include "base/json.h"
#include "base/text.h"
#include "review_page_parts.h"  // written by cmake/review_page.cmake

namespace {

void replace(std::string& text, const std::string& mark, const std::string& with) {
    const size_t at = text.find(mark);
    if (at != text.npos) text.replace(at, mark.size(), with);
}

}  // namespace

std::string review_page(const std::string& title, const std::string& nonce, const nlohmann::json& data) {
    std::string json = one_line(data);
    for (size_t at = 0; (at = json.find('<', at)) != json.npos;)
        json.replace(at, 1, "\\u003c");  // no "</script>" inside
    std::string page = kReviewHtml;
    for (const char* mark : {"{{nonce}}", "{{nonce}}", "{{nonce}}", "{{nonce}}"}) replace(page, mark, nonce);
    replace(page, "{{connect}}", data.is_null() ? "'self'" : "'none'");
    replace(page, "{{title}}", html_escaped(title));
    replace(page, "{{style}}", kReviewCss);
    replace(page, "{{script}}", kReviewJs);
    replace(page, "{{data}}", json);
    return page;
}
