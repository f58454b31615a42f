// setp: comparisons; those with u are true where an operand is NaN.
#include "lanes.h"

namespace ptx {

void add_comparisons(Forms& table) {
    using P = Predicate;
    const auto ordered = [&]<class T>(const std::string& t) {
        table["setp.eq." + t] = elementwise<P(T, T)>([](T a, T b) { return a == b; });
        table["setp.lt." + t] = elementwise<P(T, T)>([](T a, T b) { return a < b; });
        table["setp.le." + t] = elementwise<P(T, T)>([](T a, T b) { return a <= b; });
        table["setp.gt." + t] = elementwise<P(T, T)>([](T a, T b) { return a > b; });
        table["setp.ge." + t] = elementwise<P(T, T)>([](T a, T b) { return a >= b; });
    };
    each_integer(ordered);
    each_float(ordered);
    each_integer([&]<class T>(const std::string& t) {
        table["setp.ne." + t] = elementwise<P(T, T)>([](T a, T b) { return a != b; });
    });
    each_bits([&]<class T>(const std::string& t) {
        table["setp.eq." + t] = table["setp.eq.u" + t.substr(1)];
        table["setp.ne." + t] = table["setp.ne.u" + t.substr(1)];
    });
    each_float([&]<class T>(const std::string& t) {
        table["setp.ne." + t] = elementwise<P(T, T)>([](T a, T b) { return a < b || a > b; });
        table["setp.equ." + t] = elementwise<P(T, T)>([](T a, T b) { return !(a < b || a > b); });
        table["setp.neu." + t] = elementwise<P(T, T)>([](T a, T b) { return a != b; });
        table["setp.ltu." + t] = elementwise<P(T, T)>([](T a, T b) { return !(a >= b); });
        table["setp.leu." + t] = elementwise<P(T, T)>([](T a, T b) { return !(a > b); });
        table["setp.gtu." + t] = elementwise<P(T, T)>([](T a, T b) { return !(a <= b); });
        table["setp.geu." + t] = elementwise<P(T, T)>([](T a, T b) { return !(a < b); });
        table["setp.num." + t] = elementwise<P(T, T)>([](T a, T b) { return a == a && b == b; });
        table["setp.nan." + t] = elementwise<P(T, T)>([](T a, T b) { return a != a || b != b; });
    });
}

}  // namespace ptx
