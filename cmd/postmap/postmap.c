/* postmap - make and query look-up tables (postmap(1)). */
#include "map/tool.h"
#include "message.h"

int main(int argc, char **argv)
{
	struct map_tool t = {
		.program = "postmap",
		.options = "FNUbc:d:fhijmnopq:rsuvw",
		.usage = "[-bfFhijmnNoprsuUvw] [-c config_dir] [-d key] [-q key] [map_type:]file...",
		.separator = "\t",
		.message_keys = message_keys,
	};
	return map_tool_main(argc, argv, &t);
}
