#include "check.hpp"

template std::optional<parity::Deviation> parity::check<double>(const File&);
