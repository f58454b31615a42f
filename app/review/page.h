// The page of `tundra review`, one HTML file without anything from elsewhere: page.html with page.css, page.js and
// data.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

// `data`: null for the page of the server, which asks for what it shows; else all that a page without a server shows.
// `nonce` allows the page's own script and style, and no others.
std::string review_page(const std::string& title, const std::string& nonce, const nlohmann::json& data);
