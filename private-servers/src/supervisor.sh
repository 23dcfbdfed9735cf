# Runs a server for as long as the program that started this script lives. Arguments: the folder of the server, whether it
# stays behind (`keep`) or goes with the server (`remove`), the signal that ends it at once, and the server with its arguments.
#
# Standard input is a pipe whose other end that program holds and never writes to. However it ends, even by SIGKILL, the
# kernel closes the pipe, and `read` below returns. A server that ends on its own ends this script and leaves the folder.
folder=$1
then=$2
signal=$3
shift 3
exec 3<&0 </dev/null

"$@" 3<&- &
server=$!
echo "$server" >"$folder/pid"

(
  read -r _ <&3
  kill -s CONT "$server"
  kill -s "$signal" "$server"
  exit 0
) 3<&3 2>/dev/null &
watch=$!
exec 3<&-

wait "$server"
code=$?
kill -s TERM "$watch" 2>/dev/null
# Zero when the pipe was closed: then nobody is left to remove the folder.
if wait "$watch" && [ "$then" = remove ]; then
  rm -rf -- "$folder"
fi
exit "$code"
