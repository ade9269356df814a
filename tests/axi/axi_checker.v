// Counts violations of the AXI4 protocol on one bus, and its data beats. For AXI4-Lite tie off IDs, lengths and LAST.
// Answers are expected in the order of their requests, which AXI asks for within an ID, and every slave here keeps.
module axi_checker #(
  parameter ID = 1,
  parameter ADDRESS = 32,
  parameter DATA = 32
) (
  input aclk, input aresetn,
  input awvalid, input awready, input [ID-1:0] awid, input [ADDRESS-1:0] awaddr, input [7:0] awlen,
  input [2:0] awsize, input [1:0] awburst,
  input wvalid, input wready, input [DATA-1:0] wdata, input [DATA/8-1:0] wstrb, input wlast,
  input bvalid, input bready, input [ID-1:0] bid, input [1:0] bresp,
  input arvalid, input arready, input [ID-1:0] arid, input [ADDRESS-1:0] araddr, input [7:0] arlen,
  input [2:0] arsize, input [1:0] arburst,
  input rvalid, input rready, input [ID-1:0] rid, input [DATA-1:0] rdata, input [1:0] rresp, input rlast,
  output reg [31:0] violations, output reg [31:0] beats
);
  localparam REQUEST = ID + ADDRESS + 13;
  wire [REQUEST-1:0] aw = {awid, awaddr, awlen, awsize, awburst};
  wire [REQUEST-1:0] ar = {arid, araddr, arlen, arsize, arburst};
  wire [DATA+DATA/8:0] w = {wdata, wstrb, wlast};
  wire [ID+1:0] b = {bid, bresp};
  wire [ID+DATA+2:0] r = {rid, rdata, rresp, rlast};
  reg aw_waits, w_waits, b_waits, ar_waits, r_waits, in_reset;
  reg [REQUEST-1:0] aw_held, ar_held;
  reg [DATA+DATA/8:0] w_held;
  reg [ID+1:0] b_held;
  reg [ID+DATA+2:0] r_held;
  // Bursts by their number modulo 256: what was requested, how many beats came.
  reg [ID+7:0] aw_bursts [0:255];
  reg [ID+7:0] ar_bursts [0:255];
  reg [7:0] w_bursts [0:255];
  reg [31:0] aw_count, w_count, paired, b_count, ar_count, r_count;
  reg [7:0] w_beat, r_beat;
  wire [ID+7:0] pair_request = aw_bursts[paired[7:0]];
  wire [ID+7:0] b_request = aw_bursts[b_count[7:0]];
  wire [ID+7:0] r_request = ar_bursts[r_count[7:0]];
  wire pairs = paired != aw_count && paired != w_count;

  task check(input holds, input integer rule);
    if (holds !== 1'b1) begin
      violations = violations + 1;
      $display("AXI rule %0d violated in %m at %0t", rule, $time);
    end
  endtask

  function legal(input [ADDRESS-1:0] address, input [7:0] len, input [2:0] size, input [1:0] burst);
    legal = burst != 3 && (8 << size) <= DATA
      && (burst != 1 || ({32'd0, address} & 4095) + ((32'd1 + {24'd0, len}) << size) <= 32'd4096);
  endfunction

  initial begin
    violations = 0;
    beats = 0;
  end

  always @(posedge aclk) begin
    in_reset <= !aresetn;
    if (!aresetn) begin
      if (in_reset === 1'b1) check(!awvalid && !wvalid && !bvalid && !arvalid && !rvalid, 1);
      {aw_waits, w_waits, b_waits, ar_waits, r_waits} <= 0;
      aw_count <= 0; w_count <= 0; paired <= 0; b_count <= 0; ar_count <= 0; r_count <= 0;
      w_beat <= 0; r_beat <= 0;
    end else begin
      check((awvalid | ~awvalid) & (wvalid | ~wvalid) & (bvalid | ~bvalid) & (arvalid | ~arvalid) & (rvalid | ~rvalid)
        & (awready | ~awready) & (wready | ~wready) & (bready | ~bready) & (arready | ~arready) & (rready | ~rready), 2);
      // What is offered stays, and stays the same, until it is taken.
      if (aw_waits) check(awvalid && aw === aw_held, 3);
      if (w_waits) check(wvalid && w === w_held, 4);
      if (b_waits) check(bvalid && b === b_held, 5);
      if (ar_waits) check(arvalid && ar === ar_held, 6);
      if (r_waits) check(rvalid && r === r_held, 7);
      aw_waits <= awvalid && !awready; aw_held <= aw;
      w_waits <= wvalid && !wready; w_held <= w;
      b_waits <= bvalid && !bready; b_held <= b;
      ar_waits <= arvalid && !arready; ar_held <= ar;
      r_waits <= rvalid && !rready; r_held <= r;
      // Nothing offered is undefined.
      if (awvalid) check((^aw) !== 1'bx, 8);
      if (wvalid) check((^{wstrb, wlast}) !== 1'bx, 9);
      if (bvalid) check((^b) !== 1'bx, 10);
      if (arvalid) check((^ar) !== 1'bx, 11);
      if (rvalid) check((^{rid, rresp, rlast}) !== 1'bx, 12);
      // Requests.
      if (awvalid) check(legal(awaddr, awlen, awsize, awburst), 13);
      if (arvalid) check(legal(araddr, arlen, arsize, arburst), 14);
      if (awvalid && awready) begin
        check(aw_count - b_count < 256, 15);
        aw_bursts[aw_count[7:0]] <= {awid, awlen};
        aw_count <= aw_count + 1;
      end
      if (wvalid && wready) begin
        beats <= beats + 1;
        w_beat <= wlast ? 0 : w_beat + 1;
        if (wlast) begin
          w_bursts[w_count[7:0]] <= w_beat;
          w_count <= w_count + 1;
        end
      end
      if (pairs) begin
        check(w_bursts[paired[7:0]] == pair_request[7:0], 16);
        paired <= paired + 1;
      end
      // Answers only to what was asked, complete, with the ID of the request.
      if (bvalid) check(b_count != aw_count && b_count != w_count && bid == b_request[ID+7:8], 17);
      if (bvalid && bready) b_count <= b_count + 1;
      if (arvalid && arready) begin
        check(ar_count - r_count < 256, 18);
        ar_bursts[ar_count[7:0]] <= {arid, arlen};
        ar_count <= ar_count + 1;
      end
      if (rvalid) check(r_count != ar_count && rid == r_request[ID+7:8] && rlast == (r_beat == r_request[7:0]), 19);
      if (rvalid && rready) begin
        beats <= beats + 1 + (wvalid && wready);
        r_beat <= rlast ? 0 : r_beat + 1;
        if (rlast) r_count <= r_count + 1;
      end
    end
  end
endmodule
