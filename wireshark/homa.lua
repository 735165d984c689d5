-- Homa for Wireshark and tshark: the wire format of 2026 (protocol number 146, type at byte 11).
--
-- To install: install -D wireshark/homa.lua ~/.local/lib/wireshark/plugins/homa.lua
--
-- It finds Homa on IP protocol 146, in UDP (marked packets, or ports that the packet repeats), in the
-- UDP tunnel (ports 54321) and in hijacked TCP (SYN and RST together with urgent pointer 0xb97d).
-- A packet that was captured before segmentation is shown as its segments. Field names and the
-- reasons of malformed packets are those of `homa dump --json`.

local homa = Proto("homa", "Homa")

local TUNNEL_PORT = 54321
local MARKER_FLAGS, MARKER_URGENT = 0x06, 0xb97d

local NAMES = {
    [0x10] = "DATA", [0x11] = "GRANT", [0x12] = "RESEND", [0x13] = "RPC_UNKNOWN", [0x14] = "BUSY",
    [0x15] = "CUTOFFS", [0x16] = "FREEZE", [0x17] = "NEED_ACK", [0x18] = "ACK",
}
local REASONS = { [1] = "dropped", [2] = "overloaded", [3] = "aborted" }

-- Bytes of each type's header.
local HEADER = {
    [0x10] = 56, [0x11] = 33, [0x12] = 37, [0x13] = 28, [0x14] = 28,
    [0x15] = 62, [0x16] = 28, [0x17] = 28, [0x18] = 80,
}
local COMMON_BYTES, DATA_BYTES, STRIPPED_RESEND_BYTES = 28, 56, 36
-- Segmentation copies these in front of each piece; the offset of the piece follows.
local SHARED_BYTES, SEGMENT_BYTES, SHARED_WORDS = 52, 4, 13
-- A packet that fills an Ethernet frame, under IPv4 and under IPv6.
local FULL_V4_BYTES, FULL_V6_BYTES = 1480, 1460
local PIECE_MIN_BYTES = 68
local IN_SEQUENCE = 0xffffffff

local f = {
    carrier = ProtoField.string("homa.carrier", "Carrier"),
    type = ProtoField.string("homa.type", "Type"),
    malformed = ProtoField.string("homa.reason", "Malformed"),
    packet_length = ProtoField.uint32("homa.packet_length", "Packet length"),
    segment = ProtoField.uint32("homa.segment", "Segment of a packet of several"),
    sport = ProtoField.uint16("homa.sport", "Source port"),
    dport = ProtoField.uint16("homa.dport", "Destination port"),
    sequence = ProtoField.uint32("homa.sequence", "Sequence"),
    ack = ProtoField.uint24("homa.ack", "Unused (ack)"),
    type_code = ProtoField.uint8("homa.type_code", "Type code", base.HEX, NAMES),
    doff = ProtoField.uint8("homa.doff", "Header words", base.DEC, nil, 0xf0),
    flags = ProtoField.uint8("homa.flags", "Flags", base.HEX),
    window = ProtoField.uint16("homa.window", "Window"),
    checksum = ProtoField.uint16("homa.checksum", "Checksum", base.HEX),
    urgent = ProtoField.uint16("homa.urgent", "Urgent", base.HEX),
    sender_id = ProtoField.uint64("homa.sender_id", "RPC id of the sender"),
    message_length = ProtoField.uint32("homa.message_length", "Message length"),
    incoming = ProtoField.uint32("homa.incoming", "Incoming"),
    ack_client_id = ProtoField.uint64("homa.ack_client_id", "Acknowledged RPC"),
    ack_server_port = ProtoField.uint16("homa.ack_server_port", "Its server port"),
    cutoff_version = ProtoField.uint16("homa.cutoff_version", "Cutoff version"),
    retransmit = ProtoField.uint8("homa.retransmit", "Retransmit"),
    incast = ProtoField.uint8("homa.incast", "Incast", base.DEC, nil, 0x01),
    seg_offset = ProtoField.uint32("homa.seg_offset", "Segment offset"),
    payload_length = ProtoField.uint32("homa.payload_length", "Payload length"),
    offset = ProtoField.uint32("homa.offset", "Offset"),
    length = ProtoField.int32("homa.length", "Length"),
    priority = ProtoField.uint8("homa.priority", "Priority"),
    unknown_reason = ProtoField.uint8("homa.unknown_reason", "Reason", base.DEC, REASONS),
    unsched_cutoffs = ProtoField.uint32("homa.unsched_cutoffs", "Longest message of a level"),
    num_acks = ProtoField.uint16("homa.num_acks", "Acks"),
    acks_client_id = ProtoField.uint64("homa.acks.client_id", "Acknowledged RPC"),
    acks_server_port = ProtoField.uint16("homa.acks.server_port", "Its server port"),
}
homa.fields = f

local malformed =
    ProtoExpert.new("homa.malformed", "Malformed", expert.group.MALFORMED, expert.severity.WARN)
homa.experts = { malformed }

-- Fields in the order of the layout: which, where, how many bytes.
local COMMON = {
    { f.sport, 0, 2 }, { f.dport, 2, 2 }, { f.sequence, 4, 4 }, { f.ack, 8, 3 },
    { f.type_code, 11, 1 }, { f.doff, 12, 1 }, { f.flags, 13, 1 }, { f.window, 14, 2 },
    { f.checksum, 16, 2 }, { f.urgent, 18, 2 }, { f.sender_id, 20, 8 },
}
local OWN = {
    [0x10] = {
        { f.message_length, 28, 4 }, { f.incoming, 32, 4 }, { f.ack_client_id, 36, 8 },
        { f.ack_server_port, 44, 2 }, { f.cutoff_version, 46, 2 }, { f.retransmit, 48, 1 },
        { f.incast, 49, 1 }, { f.seg_offset, 52, 4 },
    },
    [0x11] = { { f.offset, 28, 4 }, { f.priority, 32, 1 } },
    [0x12] = { { f.offset, 28, 4 }, { f.length, 32, 4 }, { f.priority, 36, 1 } },
    [0x13] = { { f.unknown_reason, 28, 1 } },
    [0x15] = {
        { f.unsched_cutoffs, 28, 4 }, { f.unsched_cutoffs, 32, 4 }, { f.unsched_cutoffs, 36, 4 },
        { f.unsched_cutoffs, 40, 4 }, { f.unsched_cutoffs, 44, 4 }, { f.unsched_cutoffs, 48, 4 },
        { f.unsched_cutoffs, 52, 4 }, { f.unsched_cutoffs, 56, 4 }, { f.cutoff_version, 60, 2 },
    },
    [0x18] = { { f.num_acks, 28, 2 } },
}

-- One packet: `length` bytes on the wire, of which `captured` can be read. Behind the shared bytes
-- it goes on at `piece`, which is further on for all segments but the first.
local Packet = {}
Packet.__index = Packet

local function packet(tvb, length, piece, captured)
    return setmetatable({ tvb = tvb, length = length, piece = piece, captured = captured }, Packet)
end

-- The bytes at `at`, or nothing where they are not there.
function Packet:range(at, count)
    if at + count > math.min(self.captured, self.length) then
        return nil
    end
    if at < SHARED_BYTES then
        return self.tvb(at, count)
    end
    return self.tvb(self.piece + at - SHARED_BYTES, count)
end

function Packet:number(at, count)
    local range = self:range(at, count)
    return range and range:uint()
end

-- Why a receiver drops the packet, by the name of the counter.
function Packet:reason()
    local code = self:number(11, 1)
    if not self:range(0, COMMON_BYTES) then
        return "truncated"
    elseif not NAMES[code] then
        return "unknown_type"
    end
    local header = HEADER[code]
    if code == 0x12 and self.length == STRIPPED_RESEND_BYTES then
        header = STRIPPED_RESEND_BYTES
    end
    -- Segments of a super-packet are read across the seam, so only their ends are looked at.
    if not self:range(header - 1, 1) then
        return "truncated"
    elseif code == 0x10 then
        return self:reason_of_data()
    elseif code == 0x11 and self:number(32, 1) > 7 then
        return "priority"
    elseif code == 0x12 then
        return self:reason_of_resend(header)
    end
    return nil
end

function Packet:reason_of_data()
    local message_length, payload = self:number(28, 4), self.length - DATA_BYTES
    if message_length == 0 then
        return "empty_message"
    elseif payload == 0 then
        return "empty_payload"
    elseif self:offset() + payload > message_length then
        return "outside_message"
    end
    return nil
end

function Packet:reason_of_resend(header)
    local offset, length = self:number(28, 4), self:number(32, 4)
    if header == HEADER[0x12] and self:number(36, 1) > 7 then
        return "priority"
    elseif length == 0xffffffff then
        return nil
    elseif length > 0x7fffffff then
        return "negative_range"
    elseif length == 0 then
        return "empty_range"
    elseif offset + length > 0xffffffff then
        return "range_overflow"
    end
    return nil
end

-- Where the payload of DATA belongs.
function Packet:offset()
    local segment = self:number(52, 4)
    return segment == IN_SEQUENCE and self:number(4, 4) or segment
end

function Packet:add_fields(tree, code)
    for _, list in ipairs({ COMMON, OWN[code] or {} }) do
        for _, field in ipairs(list) do
            local range = self:range(field[2], field[3])
            if range then
                tree:add(field[1], range)
            end
        end
    end
    if code == 0x10 and self:range(52, 4) then
        tree:add(f.offset, self:range(52, 4), self:offset())
        tree:add(f.payload_length, math.max(self.length - DATA_BYTES, 0)):set_generated()
    elseif code == 0x18 then
        for index = 0, math.min(self:number(28, 2) or 0, 5) - 1 do
            local id, port = self:range(30 + index * 10, 8), self:range(38 + index * 10, 2)
            if id and port then
                tree:add(f.acks_client_id, id)
                tree:add(f.acks_server_port, port)
            end
        end
    end
end

-- What the packet says, in a line.
function Packet:summary(code, reason)
    if reason then
        return "malformed " .. (NAMES[code] or "packet") .. " (" .. reason .. ")"
    end
    local text = NAMES[code] .. " id " .. tostring(self:range(20, 8):uint64())
    if code == 0x10 then
        local start = self:offset()
        local stop = start + self.length - DATA_BYTES
        text = text .. string.format(" %d..%d of %d", start, stop, self:number(28, 4))
        if self:number(48, 1) ~= 0 then
            text = text .. " again"
        end
    elseif code == 0x11 then
        text = text .. string.format(" offset %d priority %d", self:number(28, 4), self:number(32, 1))
    elseif code == 0x12 then
        local range = self:range(32, 4):int()
        if range == -1 then
            text = text .. " everything"
        else
            local start = self:number(28, 4)
            text = text .. string.format(" %d..%d", start, start + range)
        end
    end
    return text
end

function Packet:show(tree, carrier, segment)
    local code, reason = self:number(11, 1) or 0, self:reason()
    local summary = self:summary(code, reason)
    local all = self.tvb(0, math.min(self.captured, self.tvb:captured_len()))
    local branch = tree:add(homa, all, "Homa, " .. summary)
    branch:add(f.carrier, carrier):set_generated()
    branch:add(f.type, reason and "malformed" or NAMES[code]):set_generated()
    branch:add(f.packet_length, self.length):set_generated()
    if segment then
        branch:add(f.segment, segment):set_generated()
    end
    if reason then
        branch:add(f.malformed, reason):set_generated()
        branch:add_proto_expert_info(malformed, reason)
    end
    self:add_fields(branch, code)
    return summary
end

local ADDRESSES = { Field.new("ip.src"), Field.new("ip.dst"), Field.new("ipv6.src"), Field.new("ipv6.dst") }

-- Whether the checksum is what a sender leaves to its card to complete: the sum of the pseudo header,
-- which has the protocol number of TCP.
local function has_bare_checksum(tvb, length)
    local sum = 6 + length
    for _, address in ipairs(ADDRESSES) do
        local found = address()
        for at = 0, (found and found.len or 0) - 2, 2 do
            sum = sum + found.range(at, 2):uint()
        end
    end
    while sum > 0xffff do
        sum = sum % 0x10000 + math.floor(sum / 0x10000)
    end
    return tvb(16, 2):uint() == sum
end

-- Whether the packet is, or may well be, one that was on the wire: then its payload may hold numbers
-- that look like offsets. What is sent again is one segment always; what fits into an Ethernet frame is
-- several only if no card has completed its checksum.
local function may_be_one(tvb, length)
    local full = ADDRESSES[1]() and FULL_V4_BYTES or FULL_V6_BYTES
    return tvb(48, 1):uint() ~= 0
        or length == full
        or length < full and not has_bare_checksum(tvb, length)
end

-- The size of the pieces of a packet of several segments: each begins with its offset, which is that
-- of the first plus the bytes between, and the end lies within the message.
local function piece_bytes(tvb, length, captured)
    if captured < DATA_BYTES + SEGMENT_BYTES or tvb(11, 1):uint() ~= 0x10 or bit.rshift(tvb(12, 1):uint(), 4) ~= SHARED_WORDS then
        return nil
    end
    if may_be_one(tvb, length) then
        return nil
    end
    local first, message_length = tvb(SHARED_BYTES, 4):uint(), tvb(28, 4):uint()
    if tvb(4, 4):uint() ~= first then
        return nil
    end
    local whole = length - SHARED_BYTES
    for piece = PIECE_MIN_BYTES, captured - SHARED_BYTES - SEGMENT_BYTES - 1 do
        local count = math.ceil(whole / piece)
        local fits = first + whole - count * SEGMENT_BYTES <= message_length
        local index = 1
        while fits and index < count do
            local at = SHARED_BYTES + index * piece
            if at + SEGMENT_BYTES <= captured then
                fits = tvb(at, 4):uint() == first + index * (piece - SEGMENT_BYTES)
            end
            index = index + 1
        end
        if fits then
            return piece
        end
    end
    return nil
end

-- Shows what is in `tvb`, one packet or the segments of several.
local function dissect(tvb, pinfo, tree, carrier)
    local length, captured = tvb:reported_len(), tvb:captured_len()
    pinfo.cols.protocol = "Homa"
    local piece = carrier == "ip" and piece_bytes(tvb, length, captured)
    if not piece then
        pinfo.cols.info = packet(tvb, length, SHARED_BYTES, captured):show(tree, carrier)
        return length
    end
    local summaries, at, segment = {}, SHARED_BYTES, 0
    while at < captured do
        local one = packet(
            tvb,
            SHARED_BYTES + math.min(piece, length - at),
            at,
            SHARED_BYTES + math.min(piece, captured - at)
        )
        summaries[#summaries + 1] = one:show(tree, carrier, segment)
        at, segment = at + piece, segment + 1
    end
    pinfo.cols.info = summaries[1] .. string.format(", and %d more segments", segment - 1)
    return length
end

local function is_marked(tvb)
    return tvb:captured_len() >= 20
        and tvb(13, 1):uint() == MARKER_FLAGS
        and tvb(18, 2):uint() == MARKER_URGENT
end

function homa.dissector(tvb, pinfo, tree)
    return dissect(tvb, pinfo, tree, "ip")
end

DissectorTable.get("ip.proto"):add(146, homa)

-- In UDP the packet must show what it is, and it is asked before protocols that own its port by habit.
local function is_tunnel(pinfo)
    return pinfo.src_port == TUNNEL_PORT and pinfo.dst_port == TUNNEL_PORT
end

homa:register_heuristic("udp", function(tvb, pinfo, tree)
    local repeats_ports = tvb:captured_len() >= 4
        and tvb(0, 2):uint() == pinfo.src_port
        and tvb(2, 2):uint() == pinfo.dst_port
    if is_tunnel(pinfo) then
        dissect(tvb, pinfo, tree, "tunnel")
    elseif is_marked(tvb) or repeats_ports then
        dissect(tvb, pinfo, tree, "udp")
    else
        return false
    end
    return true
end)
if set_preference then
    set_preference("udp.try_heuristic_first", true)
end

-- In the place of TCP: what is marked is Homa, all else is TCP as before.
local tcp = DissectorTable.get("ip.proto"):get_dissector(6)
local hijack = Proto("homa_hijack", "Homa in the place of TCP")
function hijack.dissector(tvb, pinfo, tree)
    if is_marked(tvb) then
        return dissect(tvb, pinfo, tree, "tcp")
    end
    return tcp:call(tvb, pinfo, tree)
end
DissectorTable.get("ip.proto"):add(6, hijack)
