#include "app/survey/final_class.h"

const char* final_name(FinalClass final) {
    constexpr const char* names[] = {"animal", "empty", "bad", "human", "repeated", "failed"};
    return names[size_t(final)];
}

FinalClass final_of(bool animal, bool repeated, bool bad, bool human) {
    return human      ? FinalClass::human
           : bad      ? FinalClass::bad
           : animal   ? FinalClass::animal
           : repeated ? FinalClass::repeated
                      : FinalClass::empty;
}

bool shows_animals(const std::string& final) {
    return final == final_name(FinalClass::animal) || final == final_name(FinalClass::human);
}
