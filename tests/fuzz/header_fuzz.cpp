// Any bytes as a file of the container. What must hold is in support/header_oracle.h.
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "support/header_oracle.h"

namespace {

constexpr int64_t kLimit = 6000; // of the header: small, so that it is met

void demand(const moeq_test::Judged& judged)
{
    if (judged.problem.empty())
        return;
    std::fprintf(stderr, "%s: %s\n", judged.problem.c_str(), judged.message.c_str());
    std::abort();
}

// Few inputs have just as many bytes as their tensors take. So the header is read as one of a file that is as long as can
// be, and where all that is wrong is a tail, of a file without it: this one has to be accepted.
void judge_with_its_own_size(const char* bytes, int64_t size)
{
    const int64_t endless = std::numeric_limits<int64_t>::max() / 2;
    const moeq_test::Judged judged = moeq_test::judge_header(bytes, size, endless, kLimit);
    demand(judged);
    const size_t at = judged.message.find(": got ");
    if (judged.class_id != "F09" || judged.message.find(" bytes behind the last tensor") == std::string::npos)
        return;
    const int64_t tail = std::strtoll(judged.message.c_str() + at + 6, nullptr, 10);
    moeq_test::Judged fitting = moeq_test::judge_header(bytes, size, endless - tail, kLimit);
    if (fitting.problem.empty() && fitting.status != MOEQ_OK)
        fitting.problem = "without its tail it is refused";
    demand(fitting);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size)
{
    const char* const bytes = reinterpret_cast<const char*>(data);
    const int64_t count = static_cast<int64_t>(size);
    demand(moeq_test::judge_header(bytes, count, count, kLimit));
    judge_with_its_own_size(bytes, count);
    return 0;
}
