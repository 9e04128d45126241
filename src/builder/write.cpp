#include "builder/assembly.h"
#include "builder/parts.h"
#include "core/status_word.h"
#include "device/transfer.h"
#include "host/encode.h"

namespace moeq::builder {

namespace {

bool overlap(const Box& a, const Box& b, Place* first)
{
    *first = {maximum(a.expert_begin, b.expert_begin), maximum(a.row_begin, b.row_begin),
              maximum(a.column_begin, b.column_begin)};
    return first->expert < minimum(a.expert_end, b.expert_end) && first->row < minimum(a.row_end, b.row_end) &&
           first->column < minimum(a.column_end, b.column_end);
}

constexpr Wanted kPiece{.argument = {5, "piece"}, .dtypes = 0};

Rectangle rectangle_of(const Box& box) { return {box.row_begin, box.row_end, box.column_begin, box.column_end}; }

// One piece on its way in.
class Write {
public:
    Write(Assembly& assembly, const TensorView& piece, const Box& box, void* stream, Report& report)
        : b_(assembly), g_(assembly.geometry()), report_(report), piece_(piece), box_(box),
          with_(assembly.on_stream(stream)), host_copy_(with_)
    {
        pending_.box = box;
        with_.call.status_word = assembly.status_word;
    }
    ~Write()
    {
        while (StagedUnit* spare = spares_) {
            spares_ = spare->next;
            spare->destroy(b_.allocator);
        }
    }
    Write(const Write&) = delete;
    Write& operator=(const Write&) = delete;

    moeq_status run()
    {
        moeq_status status = claim();
        if (status != MOEQ_OK)
            return status;
        status = encode();
        if (status == MOEQ_OK)
            status = commit();
        if (status != MOEQ_OK) {
            const Lock lock(b_.mutex);
            unlink();
            return status;
        }
        stage();
        return MOEQ_OK;
    }

private:
    moeq_status refuse_overlap(const Place& place)
    {
        const moeq_status status = report_.fail(MOEQ_ERROR_DUPLICATE, 5, "piece")
                                   << "got an element that was written before, first at expert " << place.expert
                                   << ", row " << place.row << ", column " << place.column
                                   << "; want every element once";
        report_.set_place(place);
        report_.set_class("H08");
        return status;
    }

    moeq_status check_dtype()
    {
        if (b_.dtype == 0 || b_.dtype == piece_.dtype)
            return MOEQ_OK;
        const moeq_status status = report_.fail(MOEQ_ERROR_DTYPE, 5, "piece")
                                   << "got " << dtype_name(piece_.dtype) << " after pieces of " << dtype_name(b_.dtype)
                                   << "; want one element type for all pieces";
        report_.set_class("H08");
        return status;
    }

    moeq_status claim()
    {
        const Lock lock(b_.mutex);
        MOEQ_TRY(check_dtype());
        Place place;
        for (const Pending* other = b_.pending; other != nullptr; other = other->next)
            if (overlap(other->box, pending_.box, &place))
                return refuse_overlap(place);
        for (int64_t e = box_.expert_begin; e < box_.expert_end; ++e) {
            place.expert = e;
            if (b_.coverage[e].find_overlap(rectangle_of(box_), &place.row, &place.column))
                return refuse_overlap(place);
        }
        pending_.next = b_.pending;
        b_.pending = &pending_;
        return MOEQ_OK;
    }

    void unlink()
    {
        Pending** link = &b_.pending;
        while (*link != &pending_)
            link = &(*link)->next;
        *link = pending_.next;
    }

    bool stages() const
    {
        bool any = false;
        if (b_.given_amax() == nullptr)
            for_each_part(g_, box_, [&](const Part&) { any = true; });
        return any;
    }

    moeq_status encode()
    {
        stages_ = stages();
        Findings findings;
        // What is staged is kept on the host, and encoded by a later write, which must not fail for it.
        if (stages_) {
            TensorView here = piece_;
            MOEQ_TRY(host_copy_.fetch(kPiece, &here, report_));
            staged_from_ = {StackView(here), box_};
            find_nonfinite(*with_.call.engine, g_, staged_from_, box_, findings);
        }
        if (!findings.refused()) {
            TensorView there = piece_;
            Input input(with_);
            MOEQ_TRY(input.bring(kPiece, &there, report_));
            MOEQ_TRY(with_.backend->encode_part(with_.call, b_.weight, {StackView(there), box_}, b_.given_amax(),
                                                b_.nested_absmax, findings, report_));
        } else if (with_.on_host()) {
            see(b_.status_word, findings.seen());
        }
        return conclude(findings, g_, 5, "piece", report_);
    }

    // Memory is got outside of the lock, so what is needed may have changed when the lock is taken again.
    moeq_status commit()
    {
        for (;;) {
            int64_t expert = -1;
            int64_t room = 0;
            int64_t unit = -1;
            {
                const Lock lock(b_.mutex);
                MOEQ_TRY(check_dtype());
                MOEQ_TRY(check_limit());
                if (!lacks_room(&expert, &room) && !lacks_spares(&unit)) {
                    mark_as_written();
                    return MOEQ_OK;
                }
            }
            MOEQ_TRY(expert >= 0 ? get_room(expert, room) : get_spares());
        }
    }

    bool lacks_room(int64_t* expert, int64_t* room) const
    {
        for (int64_t e = box_.expert_begin; e < box_.expert_end; ++e) {
            const int64_t needed = b_.coverage[e].room_for(rectangle_of(box_));
            if (b_.coverage[e].has_room(needed))
                continue;
            *expert = e;
            *room = needed;
            return true;
        }
        return false;
    }

    moeq_status get_room(int64_t expert, int64_t room)
    {
        Array<CoverageSpan> larger(b_.allocator);
        if (!larger.reserve(2 * room))
            return report_.out_of_memory(static_cast<uint64_t>(2 * room) * sizeof(CoverageSpan));
        {
            const Lock lock(b_.mutex);
            if (b_.coverage[expert].has_room(2 * room))
                return MOEQ_OK;
            b_.coverage[expert].move_into(larger);
        }
        return MOEQ_OK; // the old memory goes back here, outside of the lock
    }

    // for each unit of the piece that has to be staged, once per group of parts
    template <class Visit>
    void for_each_staged_unit(Visit visit) const
    {
        if (!stages_)
            return;
        int64_t last = -1;
        for_each_part(g_, box_, [&](const Part& part) {
            if (part.unit != last)
                visit(part.unit);
            last = part.unit;
        });
    }

    // Spares were got for units in order; one that is not at the head any more has been used or is not needed.
    bool lacks_spares(int64_t* unit) const
    {
        const StagedUnit* spare = spares_;
        bool lacks = false;
        for_each_staged_unit([&](int64_t wanted) {
            if (lacks || b_.staging.find(wanted) != nullptr)
                return;
            while (spare != nullptr && spare->unit != wanted)
                spare = spare->next;
            if (spare == nullptr) {
                *unit = wanted;
                lacks = true;
            }
        });
        return lacks;
    }

    moeq_status get_spares()
    {
        while (StagedUnit* spare = spares_) {
            spares_ = spare->next;
            spare->destroy(b_.allocator);
        }
        StagedUnit** tail = &spares_;
        bool failed = false;
        int64_t bytes = 0;
        for_each_staged_unit([&](int64_t unit) {
            if (failed)
                return;
            {
                const Lock lock(b_.mutex);
                if (b_.staging.find(unit) != nullptr)
                    return;
            }
            const int64_t elements = unit_at(g_, unit).elements;
            StagedUnit* spare = StagedUnit::create(b_.allocator, unit, elements, piece_.itemsize());
            failed = spare == nullptr;
            bytes = elements * piece_.itemsize();
            if (failed)
                return;
            *tail = spare;
            tail = &spare->next;
        });
        return failed ? report_.out_of_memory(static_cast<uint64_t>(bytes)) : MOEQ_OK;
    }

    moeq_status check_limit()
    {
        if (b_.staging_limit == 0 || !stages_)
            return MOEQ_OK;
        int64_t more = 0;
        for_each_staged_unit([&](int64_t unit) {
            if (b_.staging.find(unit) == nullptr)
                more += unit_at(g_, unit).elements * piece_.itemsize();
        });
        if (b_.staging.bytes() + b_.nested_bytes() + more <= b_.staging_limit)
            return MOEQ_OK;
        return report_.fail(MOEQ_ERROR_LIMIT, 5, "piece")
               << "got a piece that would stage " << more << " bytes besides " << b_.staging.bytes() + b_.nested_bytes()
               << "; want at most " << b_.staging_limit << " (staging_limit); write whole rows or blocks, or give amax";
    }

    void mark_as_written()
    {
        b_.dtype = piece_.dtype;
        const Rectangle rectangle = rectangle_of(box_);
        for (int64_t e = box_.expert_begin; e < box_.expert_end; ++e) {
            b_.coverage[e].add(rectangle);
            b_.complete_experts += b_.coverage[e].covered() == g_.expert_elements() ? 1 : 0;
        }
        b_.covered += box_.experts() * rectangle.elements();
        for_each_staged_unit([&](int64_t unit) {
            if (b_.staging.find(unit) != nullptr)
                return;
            StagedUnit** link = &spares_;
            while ((*link)->unit != unit)
                link = &(*link)->next;
            StagedUnit* staged = *link;
            *link = staged->next;
            b_.staging.insert(staged);
        });
        unlink();
    }

    // Cannot fail: memory is there, and values were looked at.
    void stage()
    {
        if (!stages_)
            return;
        for_each_part(g_, box_, [&](const Part& part) {
            StagedUnit* staged;
            {
                const Lock lock(b_.mutex);
                staged = b_.staging.find(part.unit);
            }
            copy_part(part, *staged);
            if (staged->remaining.fetch_sub(part.count, std::memory_order_acq_rel) == part.count)
                encode_staged(staged);
        });
    }

    // On the host this cannot fail. What a device has no room for now stays staged, and is encoded at the end.
    void encode_staged(StagedUnit* staged)
    {
        Report silent(report_.function(), nullptr);
        static_cast<void>(b_.encode_staged(staged, piece_.dtype, with_.call.stream, silent));
    }

    void copy_part(const Part& part, StagedUnit& staged) const
    {
        const int64_t itemsize = piece_.itemsize();
        const int64_t stride = staged_from_.view.column_stride * itemsize;
        const char* from = staged_from_.at(part.at.expert, part.at.row, part.at.column);
        char* to = staged.elements() + part.position * itemsize;
        if (stride == itemsize) {
            std::memcpy(to, from, static_cast<uint64_t>(part.count * itemsize));
            return;
        }
        for (int64_t i = 0; i < part.count; ++i)
            std::memcpy(to + i * itemsize, from + i * stride, static_cast<uint64_t>(itemsize));
    }

    Assembly& b_;
    const Geometry& g_;
    Report& report_;
    const TensorView& piece_;
    const Box box_;
    OpenCall with_;
    HostCopy host_copy_; // of the piece, where that is on a device
    Patch staged_from_;
    Pending pending_;
    StagedUnit* spares_ = nullptr;
    bool stages_ = false;
};

} // namespace

moeq_status Assembly::write(const TensorView& piece, const Box& box, void* stream, Report& report)
{
    return Write(*this, piece, box, stream, report).run();
}

} // namespace moeq::builder
