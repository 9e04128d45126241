#include "text/decimal.h"

#include <bit>
#include <cstring>

namespace moeq::text {

namespace {

// A non-negative integer of at most 4096 bits. The largest one here is 10^1145, which takes 3804 bits, or a shift of
// something smaller to one word more than that.
class Big {
public:
    explicit Big(uint64_t value)
    {
        for (; value != 0; value >>= 32)
            words_[count_++] = static_cast<uint32_t>(value);
    }

    bool zero() const { return count_ == 0; }
    int64_t bits() const { return count_ == 0 ? 0 : 32 * count_ - std::countl_zero(words_[count_ - 1]); }

    void multiply_add(uint32_t factor, uint32_t term)
    {
        uint64_t carry = term;
        for (int64_t i = 0; i < count_; ++i) {
            carry += static_cast<uint64_t>(words_[i]) * factor;
            words_[i] = static_cast<uint32_t>(carry);
            carry >>= 32;
        }
        if (carry != 0)
            words_[count_++] = static_cast<uint32_t>(carry);
    }
    void multiply_power_of_ten(int64_t exponent)
    {
        for (; exponent >= 9; exponent -= 9)
            multiply_add(1'000'000'000, 0);
        for (; exponent > 0; --exponent)
            multiply_add(10, 0);
    }
    void shift_left(int64_t bits)
    {
        if (count_ == 0)
            return;
        const int64_t words = bits / 32;
        const int32_t rest = static_cast<int32_t>(bits % 32);
        std::memmove(words_ + words, words_, static_cast<uint64_t>(count_) * sizeof *words_);
        std::memset(words_, 0, static_cast<uint64_t>(words) * sizeof *words_);
        count_ += words;
        if (rest != 0)
            multiply_add(1u << rest, 0);
    }
    bool less_than(const Big& other) const
    {
        if (count_ != other.count_)
            return count_ < other.count_;
        for (int64_t i = count_ - 1; i >= 0; --i)
            if (words_[i] != other.words_[i])
                return words_[i] < other.words_[i];
        return false;
    }
    // other is not larger.
    void subtract(const Big& other)
    {
        int64_t borrow = 0;
        for (int64_t i = 0; i < count_; ++i) {
            const int64_t difference =
                static_cast<int64_t>(words_[i]) - (i < other.count_ ? other.words_[i] : 0) + borrow;
            words_[i] = static_cast<uint32_t>(difference);
            borrow = difference >> 32;
        }
        while (count_ != 0 && words_[count_ - 1] == 0)
            --count_;
    }

private:
    uint32_t words_[128 + 2] = {};
    int64_t count_ = 0;
};

constexpr int64_t kDigitLimit = 800; // what decides a rounding has at most 767 digits; one more stands for all the rest
constexpr int64_t kExponentLimit = 1'000'000'000;

// A decimal number: 0.d1 d2 d3 ... x 10^point, without zeros in front.
struct Decimal {
    char digits[kDigitLimit + 1];
    int64_t count = 0;
    int64_t point = 0;
};

bool is_digit(char character) { return character >= '0' && character <= '9'; }

void read_decimal(const char* text, const char* end, Decimal* out)
{
    bool fraction = false;
    bool rest = false; // of the digits that are not kept, one is not 0
    int64_t point = 0;
    for (; text != end && (is_digit(*text) || *text == '.'); ++text) {
        if (*text == '.') {
            fraction = true;
            continue;
        }
        if (*text == '0' && out->count == 0) {
            point -= fraction ? 1 : 0;
            continue;
        }
        point += fraction ? 0 : 1;
        if (out->count < kDigitLimit)
            out->digits[out->count++] = *text;
        else
            rest = rest || *text != '0';
    }
    if (rest)
        out->digits[out->count++] = '1';
    if (text != end) { // e or E
        ++text;
        const bool negative = *text == '-';
        if (*text == '-' || *text == '+')
            ++text;
        int64_t exponent = 0;
        for (; text != end; ++text)
            exponent = exponent < kExponentLimit ? 10 * exponent + (*text - '0') : exponent;
        point += negative ? -exponent : exponent;
    }
    out->point = point;
}

// Bits of numerator / denominator x 2^0, rounded to nearest even. False: too large.
bool round_quotient(Big& numerator, Big& denominator, uint64_t* out_bits)
{
    // quotient = floor(numerator x 2^shift / denominator) has 55 or 56 bits, which is two more than a double keeps.
    const int64_t shift = 55 - (numerator.bits() - denominator.bits());
    if (shift > 0)
        numerator.shift_left(shift);
    else
        denominator.shift_left(-shift);
    uint64_t quotient = 0;
    denominator.shift_left(56);
    for (int32_t i = 0; i <= 56; ++i) { // numerator < denominator x 2 at each step
        quotient <<= 1;
        if (!numerator.less_than(denominator)) {
            numerator.subtract(denominator);
            quotient |= 1;
        }
        numerator.shift_left(1);
    }
    const bool sticky = !numerator.zero();
    const int64_t top = 63 - std::countl_zero(quotient) - shift; // the value is in [2^top, 2^(top + 1))
    const int64_t unit = top - 52 > -1074 ? top - 52 : -1074;    // of the last place that a double has there
    const int64_t dropped = unit + shift;
    uint64_t kept = 0;
    if (dropped <= 63) {
        const uint64_t half = uint64_t{1} << (dropped - 1);
        const uint64_t rest = quotient & (2 * half - 1);
        kept = quotient >> dropped;
        if (rest > half || (rest == half && (sticky || (kept & 1) != 0)))
            ++kept;
    }
    // A carry into the next power of two, or out of the subnormals, is a carry into the exponent's field.
    constexpr uint64_t kHidden = uint64_t{1} << 52;
    *out_bits = kept < kHidden ? kept : (static_cast<uint64_t>(unit + 1075) << 52) + (kept - kHidden);
    return *out_bits < uint64_t{0x7FF} << 52;
}

// The first digits of a positive double, and the power of ten of the first one; one digit more than is ever written,
// and whether anything follows.
struct Expansion {
    static constexpr int32_t kDigits = 18;
    char digits[kDigits];
    int32_t exponent;
    bool more;
};

Expansion expand(double value)
{
    const uint64_t bits = std::bit_cast<uint64_t>(value);
    const int64_t field = static_cast<int64_t>(bits >> 52 & 0x7FF);
    const uint64_t fraction = bits & ((uint64_t{1} << 52) - 1);
    const int64_t unit = (field == 0 ? 1 : field) - 1075;
    Big numerator(field == 0 ? fraction : fraction | uint64_t{1} << 52);
    Big denominator(1);
    const int64_t top = numerator.bits() - 1 + unit;
    if (unit > 0)
        numerator.shift_left(unit);
    else
        denominator.shift_left(-unit);
    // floor(top x log10(2)), which is at most one less than the exponent wanted, as 2^top <= value.
    int64_t exponent = top * 30103 / 100000 - (top < 0 ? 1 : 0);
    if (exponent > 0)
        denominator.multiply_power_of_ten(exponent);
    else
        numerator.multiply_power_of_ten(-exponent);
    for (;; ++exponent) {
        Big ten = denominator;
        ten.multiply_add(10, 0);
        if (numerator.less_than(ten))
            break;
        denominator = ten;
    }
    Expansion out;
    out.exponent = static_cast<int32_t>(exponent);
    for (char& digit : out.digits) {
        digit = '0';
        for (; !numerator.less_than(denominator); ++digit)
            numerator.subtract(denominator);
        numerator.multiply_add(10, 0);
    }
    out.more = !numerator.zero();
    return out;
}

// The first `count` digits, rounded to nearest even, and the exponent that they then have.
int32_t round_digits(const Expansion& from, int32_t count, char* out)
{
    std::memcpy(out, from.digits, static_cast<uint64_t>(count));
    bool rest = from.more;
    for (int32_t i = count + 1; i < Expansion::kDigits; ++i)
        rest = rest || from.digits[i] != '0';
    const char next = from.digits[count];
    const bool up = next > '5' || (next == '5' && (rest || ((out[count - 1] - '0') & 1) != 0));
    if (!up)
        return from.exponent;
    int32_t i = count - 1;
    for (; i >= 0 && out[i] == '9'; --i)
        out[i] = '0';
    if (i >= 0) {
        ++out[i];
        return from.exponent;
    }
    out[0] = '1';
    return from.exponent + 1;
}

bool gives(const char* digits, int32_t count, int32_t exponent, uint64_t wanted)
{
    Big numerator(0);
    for (int32_t i = 0; i < count; ++i)
        numerator.multiply_add(10, static_cast<uint32_t>(digits[i] - '0'));
    Big denominator(1);
    const int64_t scale = exponent - (count - 1);
    if (scale > 0)
        numerator.multiply_power_of_ten(scale);
    else
        denominator.multiply_power_of_ten(-scale);
    uint64_t bits = 0;
    return round_quotient(numerator, denominator, &bits) && bits == wanted;
}

} // namespace

bool parse_double(const char* text, int64_t length, double* out)
{
    const char* const end = text + length;
    const bool negative = text != end && *text == '-';
    Decimal decimal;
    read_decimal(negative ? text + 1 : text, end, &decimal);
    uint64_t bits = 0;
    if (decimal.count != 0 && decimal.point > 310)
        return false;
    if (decimal.count != 0 && decimal.point > -330) {
        Big numerator(0);
        for (int64_t i = 0; i < decimal.count; ++i)
            numerator.multiply_add(10, static_cast<uint32_t>(decimal.digits[i] - '0'));
        Big denominator(1);
        const int64_t scale = decimal.point - decimal.count;
        if (scale > 0)
            numerator.multiply_power_of_ten(scale);
        else
            denominator.multiply_power_of_ten(-scale);
        if (!round_quotient(numerator, denominator, &bits))
            return false;
    }
    *out = std::bit_cast<double>(bits | (negative ? uint64_t{1} << 63 : 0));
    return true;
}

int32_t print_double(double value, char* out)
{
    const uint64_t all = std::bit_cast<uint64_t>(value);
    const uint64_t bits = all & ~(uint64_t{1} << 63);
    char* next = out;
    if (bits != all)
        *next++ = '-';
    char digits[17] = {'0'};
    int32_t count = 1;
    int32_t exponent = 0;
    if (bits != 0) {
        const Expansion expansion = expand(std::bit_cast<double>(bits));
        for (count = 1; count <= 17; ++count) {
            exponent = round_digits(expansion, count, digits);
            if (count == 17 || gives(digits, count, exponent, bits))
                break;
        }
    }
    const auto put = [&](int32_t begin, int32_t end) { // digits of these places, zeros where there are none
        for (int32_t i = begin; i < end; ++i)
            *next++ = i >= 0 && i < count ? digits[i] : '0';
    };
    if (exponent < -4 || exponent >= 16) {
        put(0, 1);
        if (count > 1)
            *next++ = '.';
        put(1, count);
        *next++ = 'e';
        *next++ = exponent < 0 ? '-' : '+';
        const int32_t magnitude = exponent < 0 ? -exponent : exponent;
        if (magnitude >= 100)
            *next++ = static_cast<char>('0' + magnitude / 100);
        *next++ = static_cast<char>('0' + magnitude / 10 % 10);
        *next++ = static_cast<char>('0' + magnitude % 10);
    } else {
        const int32_t point = exponent + 1; // before the digit of this place
        put(point < 1 ? point - 1 : 0, point);
        *next++ = '.';
        put(point, count > point + 1 ? count : point + 1);
    }
    *next = '\0';
    return static_cast<int32_t>(next - out);
}

} // namespace moeq::text
