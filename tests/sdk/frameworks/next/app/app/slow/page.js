export const dynamic = "force-dynamic";

export default async function Slow() {
  await new Promise((resolve) => setTimeout(resolve, 300));
  return <h1>Delivery</h1>;
}
