// Text that users and files write in any case.
#pragma once

#include <string>

// ASCII letters in lower case, whatever the locale; other bytes stay.
inline std::string lower(std::string text) {
    for (char& c : text)
        if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
    return text;
}
