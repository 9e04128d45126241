// How the library finds a plug-in, and whom it does not let in. A process looks once, so these run in processes of their own,
// with other values of MOEQ_CUDA_LIBRARY (CMakeLists.txt).
#include "support/api.h"

namespace moeq_test {
namespace {

std::string backend()
{
    const Context context = make_context();
    moeq_blob* out = nullptr;
    MOEQ_EXPECT_OK(moeq_context_describe(context.get(), &out, &ok));
    const std::string text(static_cast<const char*>(moeq_blob_data(out)), static_cast<size_t>(moeq_blob_size(out)));
    moeq_blob_destroy(out);
    return text.substr(text.find("\"backends\""));
}

TEST(Plugin, IsThere) { EXPECT_EQ(backend(), "\"backends\": {\"cuda\": \"available\"}}"); }

TEST(Plugin, OfAnotherVersionIsRefusedWithBoth)
{
    const std::string wanted = std::string("the plug-in is of version 0.0.9, this library ") + moeq_version_string();
    EXPECT_NE(backend().find(wanted), std::string::npos) << backend();
}

TEST(Plugin, OfAPathThatIsNotThere)
{
    EXPECT_NE(backend().find("MOEQ_CUDA_LIBRARY: /nowhere/plugin.so"), std::string::npos) << backend();
}

TEST(Plugin, ThatIsNone) { EXPECT_NE(backend().find("has no moeq_cuda_backend"), std::string::npos) << backend(); }

} // namespace
} // namespace moeq_test
