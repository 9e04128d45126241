#include "store/convert/own_json.h"

#include "store/container/file.h"

namespace moeq::store {

moeq_status OwnJson::read(int folder, const char* name, Report& report)
{
    bool there = false;
    found_ = false;
    MOEQ_TRY(look_for(folder, name, &there, report));
    if (!there)
        return MOEQ_OK;
    File file(allocator_);
    moeq_error error{};
    Report inner(report.function(), &error); // a file that is gone or torn is no failure of the call
    moeq_status status = file.open(folder, name, inner);
    if (status == MOEQ_OK)
        status = read_text(file, text::kJsonBytes, &text_, inner);
    if (status == MOEQ_OK)
        status = document_.parse(text_.data(), text_.size() - 1, {.what = name}, inner);
    if (status == MOEQ_ERROR_MEMORY || status == MOEQ_ERROR_IO)
        return report.take_over(error);
    found_ = status == MOEQ_OK;
    return MOEQ_OK;
}

} // namespace moeq::store
