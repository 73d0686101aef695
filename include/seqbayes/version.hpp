/// @file
/// The version of the library, https://semver.org. The only place that holds it: CMakeLists.txt
/// and, through it, the packages read it here.
#pragma once

#define SEQBAYES_VERSION_MAJOR 0
#define SEQBAYES_VERSION_MINOR 1
#define SEQBAYES_VERSION_PATCH 0
