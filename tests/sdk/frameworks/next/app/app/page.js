"use client";
import Link from "next/link";

export default function Page() {
  const order = undefined;
  return (
    <main>
      <h1>Orders</h1>
      <button onClick={() => console.log(order.price)}>Show the price</button>
      <Link href="/slow">Delivery</Link>
      <a href="/broken?token=secret">Broken</a>
    </main>
  );
}
