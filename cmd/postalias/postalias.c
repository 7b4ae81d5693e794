/* postalias - make and query alias tables (postalias(1)). */
#include "map/tool.h"

int main(int argc, char **argv)
{
	struct map_tool t = {
		.program = "postalias",
		.options = "Nc:d:fijnopq:rsuvw",
		.usage = "[-Nfijnoprsuvw] [-c config_dir] [-d key] [-q key] [map_type:]file...",
		.separator = ":\t",
		.build = { .aliases = true },
	};
	return map_tool_main(argc, argv, &t);
}
